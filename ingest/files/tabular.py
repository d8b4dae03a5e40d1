"""Reads the rows of a CSV, JSON-lines or Parquet file as columns of text, chunk by chunk.

It sets aside a malformed row (a wrong number of cells, no JSON object, no valid text) and continues with the next.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson
import polars as pl

from streams.errors import ConfigError

from .mapping import Mapping

ROW = "\0row"  # the column of the row number; no column of a file has such a name

_CHUNK = 50_000  # rows
_LOOK_AHEAD = 1000  # the keys of so many objects are the columns of a JSON-lines file
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class BadRow:
    """A row's number (from 0, without a header line), the reason why it is no event, and its content."""

    number: int
    reason: str
    value: bytes


class TabularFile:
    """A file and its mapping. `chunks` appends the malformed rows to `bad`."""

    def __init__(self, path: str, mapping: Mapping) -> None:
        """Raises ConfigError if the file cannot be read or lacks a column that the mapping names."""
        self.path, self.mapping = path, mapping
        self.bad: list[BadRow] = []
        self.format = mapping.format or _SUFFIXES.get(Path(path).suffix.lower())
        if self.format is None:
            raise ConfigError(path, None, "the name does not tell the format; give `format:` in the mapping")
        self.encoding = mapping.encoding.removesuffix("-sig")
        self.separator = mapping.separator or ("\t" if path.lower().endswith(".tsv") else ",")
        try:
            self.columns = self._find_columns()
        except (OSError, pl.exceptions.PolarsError, csv.Error, UnicodeError) as error:
            raise ConfigError(path, None, f"cannot be read as {self.format}: {_line(error)}") from error
        for column, line in mapping.columns.items():
            if column not in self.columns:
                found = ", ".join(self.columns)
                raise ConfigError(
                    mapping.path, line, f"column {column!r} is not in {path}; its columns are: {found}"
                )

    def chunks(self) -> Iterator[pl.DataFrame]:
        """Yield frames of ROW (from 0) and the mapping's columns as text; an empty cell is null.

        A Parquet column of dates or timestamps keeps its type.
        """
        self.bad.clear()
        if self.format == "parquet":
            yield from self._parquet_chunks()
        else:
            with self._open() as file:
                rows = self._csv_rows(file) if self.format == "csv" else self._json_rows(file)
                while chunk := list(islice(rows, _CHUNK)):
                    yield self._frame(chunk)

    def empty(self) -> pl.DataFrame:
        """Return a chunk without rows."""
        return self._build([])

    def _open(self) -> IO[str]:
        newline = "" if self.format == "csv" else "\n"
        return open(self.path, encoding=self.mapping.encoding, errors="surrogateescape", newline=newline)

    def _find_columns(self) -> list[str]:
        if self.format == "parquet":
            return list(pl.read_parquet_schema(self.path))
        with self._open() as file:
            if self.format == "csv":
                first = next(csv.reader(file, delimiter=self.separator), [])
                return list(self.mapping.header or first)
            keys: dict[str, None] = {}
            for line in islice(file, _LOOK_AHEAD):
                keys |= dict.fromkeys(_object(line) or ())
            return list(keys)

    def _csv_rows(self, file: IO[str]) -> Iterator[tuple[int, Sequence[str | None]]]:
        reader = csv.reader(file, delimiter=self.separator)
        if self.mapping.header is None:
            next(reader, None)
        width = len(self.columns)
        picks = [self.columns.index(column) for column in self.mapping.columns]
        row = -1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                row += 1
                self._set_aside(row, f"not a row of CSV: {error}", "")
                continue
            if not cells:  # an empty line
                continue
            row += 1
            if len(cells) == width:
                yield row, [cells[pick] or None for pick in picks]
            else:
                self._set_aside(row, f"{len(cells)} cells instead of {width}", self.separator.join(cells))

    def _json_rows(self, file: IO[str]) -> Iterator[tuple[int, Sequence[str | None]]]:
        row = -1
        for line in file:
            if line.isspace():
                continue
            row += 1
            found = _object(line)
            if found is None:
                self._set_aside(row, "not a JSON object", line.rstrip("\r\n"))
            else:
                yield row, [_text(found.get(column)) for column in self.mapping.columns]

    def _frame(self, rows: list[tuple[int, Sequence[str | None]]]) -> pl.DataFrame:
        try:
            return self._build(rows)
        except UnicodeEncodeError:  # a row has bytes that are no text in the file's encoding
            good = []
            for number, cells in rows:
                text = self.separator.join(cell or "" for cell in cells)
                if any("\ud800" <= character <= "\udfff" for character in text):
                    self._set_aside(number, f"not {self.encoding} text", text)
                else:
                    good.append((number, cells))
            return self._build(good)

    def _build(self, rows: list[tuple[int, Sequence[str | None]]]) -> pl.DataFrame:
        columns = [pl.Series(ROW, [number for number, _ in rows], pl.Int64)]
        for index, name in enumerate(self.mapping.columns):
            columns.append(pl.Series(name, [cells[index] for _, cells in rows], pl.String))
        return pl.DataFrame(columns)

    def _parquet_chunks(self) -> Iterator[pl.DataFrame]:
        try:
            frame = pl.scan_parquet(self.path).select(list(self.mapping.columns)).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ConfigError(self.path, None, f"cannot be read as parquet: {_line(error)}") from error
        texts = [
            pl.col(name) if dtype.is_temporal() else self._as_text(name, dtype)
            for name, dtype in frame.schema.items()
        ]
        numbered = frame.select(texts).with_row_index(ROW).with_columns(pl.col(ROW).cast(pl.Int64))
        yield from numbered.iter_slices(_CHUNK)

    def _as_text(self, name: str, dtype: pl.DataType) -> pl.Expr:
        column = pl.col(name)
        if dtype.is_nested() or dtype == pl.Binary:
            line = self.mapping.columns[name]
            raise ConfigError(self.mapping.path, line, f"column {name!r} holds {dtype}, not texts or numbers")
        if dtype.is_float():  # integers with gaps often come as floats: 17.0 is meant as 17
            whole = column.cast(pl.Int64, strict=False)
            return (
                pl.when(whole == column)
                .then(whole.cast(pl.String))
                .otherwise(column.cast(pl.String))
                .alias(name)
            )
        return column.cast(pl.String)

    def _set_aside(self, row: int, reason: str, text: str) -> None:
        self.bad.append(BadRow(row, reason, text.encode(self.encoding, "surrogateescape")))


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
