"""Builds a raw batch of records without a broker, as a broker would store it (message format v2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .record_batch import RawBatch


def raw_batch(
    base_offset: int, found: Iterable[tuple[bytes | None, bytes | None]], append_time_ms: int = -1
) -> RawBatch:
    """Build one batch of (key, value) records with the offsets from `base_offset` on."""
    data = bytearray()
    count = 0
    for key, value in found:
        body = bytearray(b"\0\0")  # attributes, time relative to the batch's
        _put_varint(body, count)
        _put_bytes(body, key)
        _put_bytes(body, value)
        body.append(0)  # headers
        _put_varint(data, len(body))
        data += body
        count += 1
    buf = np.frombuffer(bytes(data), np.uint8)
    return RawBatch(base_offset, count, base_offset, base_offset + count, append_time_ms, buf)


def _put_bytes(data: bytearray, value: bytes | None) -> None:
    if value is None:
        data.append(1)  # a length of -1
    else:
        _put_varint(data, len(value))
        data += value


def _put_varint(data: bytearray, number: int) -> None:
    """Append a number that is not negative as a zig-zag varint."""
    rest = number << 1
    while rest > 127:
        data.append(rest & 127 | 128)
        rest >>= 7
    data.append(rest)
