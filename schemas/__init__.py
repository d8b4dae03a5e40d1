"""Avro schemas, their ids and their compatibility. Imports nothing of ours."""

from .compatibility import compatible
from .registry import (
    EVENTS,
    FRAME_BYTES,
    IDS,
    MAGIC,
    TOPICS,
    SchemaError,
    by_id,
    decode,
    encode,
    name_version,
    schema,
    schema_id,
    versions,
)

__all__ = [
    "EVENTS",
    "FRAME_BYTES",
    "IDS",
    "MAGIC",
    "TOPICS",
    "SchemaError",
    "by_id",
    "compatible",
    "decode",
    "encode",
    "name_version",
    "schema",
    "schema_id",
    "versions",
]
