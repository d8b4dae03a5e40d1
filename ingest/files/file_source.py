"""Reads any CSV, JSON-lines or Parquet file as a source of events, by a mapping."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ingest.source import DEAD_LETTERS, Event
from schemas import encode, schema
from streams.errors import ConfigError

from .mapping import Mapping, read_mapping
from .shape import shape
from .tabular import BadRow, TabularFile

if TYPE_CHECKING:
    from models.text import MessageReader

_RAW = "social.messages"  # the reader role reads these
_SLICE = 10_000  # rows turned into Python objects at once

# fields with keys of their own in the mapping -> column of the shaped rows
_GIVEN = {"message_id": "id", "id": "id", "customer": "key", "time": "time", "kind": "kind"}


class FileSource:
    """The rows of `path` as events, sorted by time; equal times keep the order of the file.

    A row that cannot become an event becomes a dead letter: topic = the file's name, partition 0,
    offset = the row's number, value = the cells that were read. All dead letters come first.
    A message with a text gets the sentiment, topics and flags that `phrases` finds in it.
    Memory holds the columns that the mapping names.
    """

    begins_ms: int | None = None

    def __init__(self, path: str | Path, mapping: str | Path, phrases: Path | None = None) -> None:
        """Raises ConfigError if a file is wrong, cannot be read or lacks a column, or if texts lack `phrases`."""
        self.mapping = read_mapping(mapping)
        self._rows = TabularFile(str(path), self.mapping)
        self.path = Path(path)
        self.name = self.path.name
        self.topics = self.mapping.topic, DEAD_LETTERS
        self._phrases = phrases
        self._reader = _reader(self.mapping, phrases)
        self._total: int | None = None

    @property
    def total(self) -> int | None:
        """The number of events, known once `events` has read the file."""
        return self._total

    @cached_property
    def fingerprint(self) -> str:
        with self.path.open("rb") as file:
            data = hashlib.file_digest(file, "sha256").hexdigest()
        made_by = f"{data} {self.mapping.fingerprint}"
        if self._reader is not None and self._phrases is not None:
            made_by += f" {hashlib.sha256(self._phrases.read_bytes()).hexdigest()}"
        return hashlib.sha256(made_by.encode()).hexdigest()[:16]

    def events(self, start: int = 0) -> Iterator[Event]:
        """Yield the dead letters, then the events by time."""
        rows, bad = self._table
        yield from map(self._dead_letter, bad[start:])
        topic, name = self.mapping.topic, self.mapping.schema
        for part in rows[max(0, start - len(bad)) :].iter_slices(_SLICE):
            keys, times = part["key"].to_list(), part["time"].to_list()
            for key, time_ms, record in zip(keys, times, _records(part, self.mapping), strict=True):
                if self._reader is not None:
                    self._reader.complete(record)
                yield topic, key.encode(), time_ms, encode(name, record)

    @cached_property
    def _table(self) -> tuple[pl.DataFrame, list[BadRow]]:
        """The good rows in the form of `shape`, sorted by time, and the bad rows, sorted by number."""
        bad: list[BadRow] = []
        good = [shape(self._rows.empty(), self.mapping, self.path.stem)[0]]
        for chunk in self._rows.chunks():
            shaped, wrong = shape(chunk, self.mapping, self.path.stem)
            good.append(shaped)
            bad += wrong
        bad = sorted([*bad, *self._rows.bad], key=lambda row: row.number)
        rows = pl.concat(good)
        if not rows["time"].is_sorted():
            rows = rows.sort("time", maintain_order=True)
        self._total = len(rows) + len(bad)
        return rows, bad

    def _dead_letter(self, bad: BadRow) -> Event:
        letter = {
            "topic": self.name,
            "partition": 0,
            "offset": bad.number,
            "reason": bad.reason,
            "value": bad.value,
            "time": int(
                self.path.stat().st_mtime * 1000
            ),  # no row is younger than the last write to the file
        }
        return DEAD_LETTERS, self.name.encode(), 0, encode("dead_letter", letter)


def _reader(mapping: Mapping, phrases: Path | None) -> MessageReader | None:
    """Load the reader of message texts if there are any (loading its lexicons takes a moment), else None."""
    has_text = any(field.path == ("text",) for field in mapping.fields)
    if mapping.schema != "social_event" or mapping.topic == _RAW or not has_text:
        return None
    if phrases is None:
        raise ConfigError(
            mapping.path, None, "messages with a text: expected the file of phrases to read them by"
        )
    from models.text import MessageReader

    return MessageReader.of(phrases)


def _records(rows: pl.DataFrame, mapping: Mapping) -> Iterator[dict[str, Any]]:
    """Yield the records to encode. They omit nulls, which the schema's defaults replace."""
    fields = {field["name"] for field in schema(mapping.schema)["fields"]}
    given = {name: rows[column].to_list() for name, column in _GIVEN.items() if name in fields}
    columns = [rows[f"f{index}"].to_list() for index in range(len(mapping.fields))]
    flat = {
        field.path[0]: column
        for field, column in zip(mapping.fields, columns, strict=True)
        if not field.path[1:]
    }
    deep = [
        (field.path, column) for field, column in zip(mapping.fields, columns, strict=True) if field.path[1:]
    ]
    arrays = {"lines"} & fields  # the one array of the event schemas without a default
    names = (*given, *flat)
    for number, values in enumerate(zip(*given.values(), *flat.values(), strict=True)):
        record = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for name in arrays:
            record[name] = []
        for path, column in deep:
            if column[number] is not None:
                _set(record, path, column[number])
        yield record


def _set(record: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value in a map, or in the single element of an array."""
    if len(path) == 2:
        record.setdefault(path[0], {})[path[1]] = value
    elif record[path[0]]:
        record[path[0]][0][path[2]] = value
    else:
        record[path[0]].append({path[2]: value})
