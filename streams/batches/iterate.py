"""The records of a raw batch, one by one: for the roles that handle thousands a second and not millions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streams.errors import Poison

from .record_batch import RawBatch
from .records import find_records

Record = tuple[int, bytes | None, bytes | None]  # offset, key, value


def records(batch: RawBatch) -> Iterator[Record]:
    """The records from `batch.first` on, in order. Raises `Poison` when the batch cannot be read, before any."""
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
