"""The Avro schemas of every topic, their fixed ids, and the encoding of single records.

This is the slow, plain path, by fastavro, for tools, tests and outputs off the hot path. The kernels read and
write the same bytes. Framing is Confluent's: a zero byte, the id (4 bytes, big-endian), the body.
"""

from __future__ import annotations

import io
import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

import fastavro

MAGIC = 0
FRAME_BYTES = 5

# (name, version) -> id. An id is written into every record for good: never change or reuse one.
IDS: dict[tuple[str, int], int] = {
    ("web_event", 1): 1,
    ("social_event", 1): 2,
    ("sales_event", 1): 3,
    ("sales_event", 2): 4,
    ("social_event", 2): 5,
    ("decision", 1): 10,
    ("training_example", 1): 11,
    ("model_snapshot", 1): 12,
    ("outcome", 1): 13,
    ("dead_letter", 1): 14,
    ("training_example", 2): 15,
    ("training_example", 3): 16,
    ("outcome", 2): 17,
    ("model_snapshot", 2): 18,
    ("model_change", 1): 19,
    ("forecast", 1): 20,
    ("departure", 1): 21,
    ("recommendation", 1): 22,
    ("correction", 1): 23,
}

# topic -> the name of the schema of its values
TOPICS: dict[str, str] = {
    "web.events": "web_event",
    "social.events": "social_event",
    "sales.events": "sales_event",
    "social.messages": "social_event",
    "message.corrections": "correction",
    "alerts": "decision",
    "offers": "decision",
    "offer.outcomes": "outcome",
    "training.examples": "training_example",
    "models": "model_snapshot",
    "dead-letters": "dead_letter",
    "forecasts": "forecast",
    "forecast.alerts": "departure",
    "recommendations": "recommendation",
}

# The schemas whose records are events of customers -> the field that tells a repeated event from a new one
EVENTS: dict[str, str] = {
    "web_event": "message_id",
    "social_event": "message_id",
    "sales_event": "message_id",
    "outcome": "id",
}

_FOLDER = Path(__file__).parent / "avro"
_FRAME = struct.Struct(">BI")
_NAMES = {schema_id: key for key, schema_id in IDS.items()}

# fastavro raises these on bytes or records that do not fit; they share no base class.
_CODEC_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    StopIteration,
    TypeError,
    ValueError,
    struct.error,
    fastavro.read.SchemaResolutionError,
)


class SchemaError(ValueError):
    """An unknown schema, or a record that does not fit its schema; the message is one line."""


def versions(name: str) -> list[int]:
    """Return the versions of schema `name`, oldest first; the last is the current one."""
    found = sorted(version for known, version in IDS if known == name)
    if not found:
        raise SchemaError(f"unknown schema {name!r}; known are {sorted({known for known, _ in IDS})}")
    return found


def schema_id(name: str, version: int | None = None) -> int:
    """Return the id of a schema, of its current version unless one is given."""
    return IDS[_key(name, version)]


def schema(name: str, version: int | None = None) -> dict[str, Any]:
    """Return a schema as fastavro parsed it, with logical types; the current version unless one is given."""
    return _load(*_key(name, version))


def by_id(schema_id: int) -> dict[str, Any]:
    """Return the parsed schema with this id."""
    return _load(*name_version(schema_id))


def name_version(schema_id: int) -> tuple[str, int]:
    """Return the name and version of the schema with this id."""
    if schema_id not in _NAMES:
        raise SchemaError(f"unknown schema id {schema_id}; known are {sorted(_NAMES)}")
    return _NAMES[schema_id]


def encode(name: str, record: dict[str, Any], version: int | None = None) -> bytes:
    """Return frame and body of `record`. Times are integers, milliseconds since the epoch."""
    key = _key(name, version)
    body = io.BytesIO()
    body.write(_FRAME.pack(MAGIC, IDS[key]))
    try:
        fastavro.schemaless_writer(body, _plain(*key), record, strict_allow_default=True)
    except _CODEC_ERRORS as error:
        raise SchemaError(f"not a {name}: {_line(error)}") from error
    return body.getvalue()


def decode(value: bytes) -> tuple[str, dict[str, Any]]:
    """Return the schema's name and the record, resolved to its current version. Times are integers (ms).

    Bytes after the record are ignored.
    """
    if len(value) < FRAME_BYTES or value[0] != MAGIC:
        start = value[:FRAME_BYTES].hex()
        raise SchemaError(f"not a framed record: {len(value)} bytes that start with {start!r}")
    name, version = name_version(_FRAME.unpack_from(value)[1])
    body = io.BytesIO(value)
    body.seek(FRAME_BYTES)
    try:
        record = fastavro.schemaless_reader(body, _plain(name, version), _plain(*_key(name, None)))
    except _CODEC_ERRORS as error:
        raise SchemaError(f"does not decode as {name} v{version}: {_line(error)}") from error
    if not isinstance(record, dict):
        raise SchemaError(f"does not decode as {name} v{version}: no record")
    return name, record


@cache
def _key(name: str, version: int | None) -> tuple[str, int]:
    known = versions(name)
    if version is None:
        return name, known[-1]
    if version not in known:
        raise SchemaError(f"schema {name} has no version {version}; it has {known}")
    return name, version


@cache
def _load(name: str, version: int) -> dict[str, Any]:
    path = _FOLDER / f"{name}.v{version}.avsc"
    try:
        parsed = fastavro.parse_schema(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, fastavro.schema.SchemaParseException) as error:
        raise SchemaError(f"{path.name}: {_line(error)}") from error
    assert isinstance(parsed, dict)
    return parsed


@cache
def _plain(name: str, version: int) -> dict[str, Any]:
    """Return the schema without logical types.

    fastavro turns those into datetimes, and fails outside the years of a datetime.
    """
    bare = _without_logical_types(_load(name, version))
    parsed = fastavro.parse_schema(bare)
    assert isinstance(parsed, dict)
    return parsed


def _without_logical_types(part: Any) -> Any:
    if isinstance(part, dict):
        return {k: _without_logical_types(v) for k, v in part.items() if k != "logicalType" and k[:2] != "__"}
    if isinstance(part, list):
        return [_without_logical_types(item) for item in part]
    return part


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())
