"""The encoding of a topic's records in the archive: two sizes (int32), key, value."""

from __future__ import annotations

import struct
from collections.abc import Iterator

RECORD = struct.Struct("<ii")

NONE = -1  # as size of the value: a tombstone


def encode(key: bytes, value: bytes | None) -> bytes:
    """Encode a record for a chunk; one without a value is a tombstone."""
    if value is None:
        return RECORD.pack(len(key), NONE) + key
    return RECORD.pack(len(key), len(value)) + key + value


def decode(chunk: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yields the records of a chunk."""
    at, size = 0, len(chunk)
    while at < size:
        key_size, value_size = RECORD.unpack_from(chunk, at)
        at += RECORD.size
        key = chunk[at : at + key_size]
        at += key_size
        if value_size == NONE:
            yield key, None
        else:
            yield key, chunk[at : at + value_size]
            at += value_size
