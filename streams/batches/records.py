"""Step 3, first half: finds the records in a raw record batch (Kafka message format v2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from streams.errors import Poison
from streams.kernels import kernel, read_varint

from .record_batch import RawBatch


@kernel
def find_records(
    buf: Any, count: int, base_offset: int, first: int, offsets: Any, key_at: Any, key_size: Any,
    value_at: Any, value_size: Any,
) -> int:  # fmt: skip
    """Locate `count` records in `buf: uint8[:]`, writing positions into the int64 arrays.

    Sizes are -1 for null. It leaves out records whose offset is below `first` (already consumed; a seek may land inside
    a batch). Returns how many it wrote, or -1 when the batch is malformed (its offsets have to rise, too): then use
    nothing of it. It reads nothing outside a record's own bytes.
    """
    p = np.int64(0)
    size = np.int64(len(buf))
    found = 0
    before = np.int64(-1)
    for _ in range(count):
        length, p = read_varint(buf, p, size)
        if p < 0 or length < 1 or length > size - p:
            return -1
        end = p + length
        p += 1  # attributes, unused in v2
        _, p = read_varint(buf, p, end)
        if p < 0:
            return -1
        delta, p = read_varint(buf, p, end)
        if p < 0 or delta <= before:
            return -1
        before = delta
        key_length, p = read_varint(buf, p, end)
        if p < 0 or key_length < -1 or key_length > end - p:
            return -1
        key_start = p
        if key_length > 0:
            p += key_length
        value_length, p = read_varint(buf, p, end)
        if p < 0 or value_length < -1 or value_length > end - p:
            return -1
        if base_offset + delta >= first:
            offsets[found] = base_offset + delta
            key_at[found] = key_start
            key_size[found] = key_length
            value_at[found] = p
            value_size[found] = value_length
            found += 1
        p = end  # headers are skipped
    return found if p == size else -1


Record = tuple[int, bytes | None, bytes | None]  # offset, key, value


def records(batch: RawBatch) -> Iterator[Record]:
    """Return the records from `batch.first` on, in order. Raises `Poison` at once when the batch cannot be read."""
    if batch.error:
        raise Poison(batch.error, offset=batch.base_offset)
    if batch.count == 0:
        return iter(())
    offsets, key_at, key_size, value_at, value_size = (np.empty(batch.count, np.int64) for _ in range(5))
    found = find_records(
        batch.buf,
        batch.count,
        batch.base_offset,
        batch.first,
        offsets,
        key_at,
        key_size,
        value_at,
        value_size,
    )
    if found < 0 or (found and offsets[found - 1] >= batch.next_offset):
        raise Poison("the records of the batch overlap or end early", offset=batch.base_offset)
    spans = (part[:found].tolist() for part in (offsets, key_at, key_size, value_at, value_size))
    return _cut(batch.buf.tobytes(), zip(*spans, strict=True))


def _cut(data: bytes, spans: Iterator[tuple[int, ...]]) -> Iterator[Record]:
    for offset, key_at, key_size, value_at, value_size in spans:
        key = data[key_at : key_at + key_size] if key_size >= 0 else None
        value = data[value_at : value_at + value_size] if value_size >= 0 else None
        yield offset, key, value
