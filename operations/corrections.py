"""`streamwise corrections send`: checks people's corrections of messages, then sends all of them to their topic."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import schemas
from agents.reader import PARTITION, correction_of
from config.settings import Settings
from models.text import load_topics
from schemas.topics import CORRECTIONS
from streams.errors import ConfigError, Poison, Retryable
from streams.kafka import Outputs, librdkafka_settings, reach

FIELDS = {"id", "message_id", "time", "text", "language", "sentiment", "labels", "by"}
LARGEST_BYTES = 900_000  # a broker takes a megabyte
FLUSH_S = 30.0

Given = tuple[str, int | None, Mapping[str, Any]]  # file, line, the object on the line


def gather(file: Path | None, one: Mapping[str, Any]) -> Iterator[Given]:
    """Yield the corrections of a file of JSON lines, or the one on the command line. Raises `ConfigError`."""
    said = any(value not in (None, {}) for value in one.values())
    if (file is None) == (not said):
        raise ConfigError("corrections", None, "expected a file, or --text with --sentiment or --label")
    if file is None:
        yield "corrections", None, one
        return
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield str(file), number, json.loads(line)
    except OSError as error:
        raise ConfigError(str(file), None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(file), None, "expected UTF-8") from error
    except json.JSONDecodeError as error:
        raise ConfigError(str(file), number, f"expected an object in JSON: {error.msg}") from error


def labels_of(words: Sequence[str]) -> dict[str, bool]:
    """Parse labels: `complaint` and `complaint=yes` say that the text is one, `complaint=no` that it is not."""
    found = {}
    for word in words:
        name, _, so = word.partition("=")
        if so not in ("", "yes", "no"):
            raise ConfigError("corrections", None, f"expected --label {name}=yes or {name}=no, got {word!r}")
        found[name] = so != "no"
    return found


def send(settings: Settings, given: Iterator[Given]) -> dict[str, int]:
    """Check all corrections, then send them in order. If one is wrong, raise `ConfigError` and send none."""
    known = set(load_topics(settings.phrases).labels)
    now_ms = int(time.time() * 1000)
    values = [_encoded(path, line, what, known, now_ms) for path, line, what in given]
    reach(settings.access)
    outputs = Outputs({**librdkafka_settings(settings.access), "log_level": 0})
    outputs.send(CORRECTIONS, [{"key": b"", "value": value} for value in values], PARTITION)
    missing = outputs.flush(FLUSH_S)
    outputs.check()
    if missing:
        raise Retryable(f"{missing:,} of {len(values):,} corrections were not acknowledged; send them again")
    return {"sent": len(values)}


def format_report(result: dict[str, int]) -> list[str]:
    """Format the result for people."""
    return [f"{result['sent']:,} correction{'s' if result['sent'] != 1 else ''} sent"]


def _encoded(path: str, line: int | None, what: Any, known: set[str], now_ms: int) -> bytes:
    if not isinstance(what, Mapping) or not isinstance(what.get("text"), str) or not what["text"]:
        raise ConfigError(path, line, "expected an object with a text")
    unknown = sorted(what.keys() - FIELDS)
    if unknown:
        raise ConfigError(path, line, f"unknown field {unknown[0]!r}; known are {', '.join(sorted(FIELDS))}")
    record = {name: value for name, value in what.items() if value is not None}
    labels = record.get("labels", {})
    strange = sorted(set(labels) - known) if isinstance(labels, Mapping) else []
    if strange:
        raise ConfigError(path, line, f"unknown label {strange[0]!r}; known are {', '.join(sorted(known))}")
    said = {name: value for name, value in record.items() if name not in ("id", "time")}
    name = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
    try:
        value = schemas.encode("correction", {"id": name, "time": now_ms, **record})
        correction_of(value)
    except (schemas.SchemaError, Poison) as error:
        raise ConfigError(path, line, str(error)) from error
    if len(value) > LARGEST_BYTES:
        raise ConfigError(path, line, f"{len(value):,} bytes; expected at most {LARGEST_BYTES:,}")
    return value
