"""Step 3, first half: find the records in a raw record batch (Kafka message format v2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels.jit import inlined, kernel


@inlined
def read_varint(buf: Any, p: int, end: int) -> Any:
    """Read one zig-zag varint of at most 10 bytes: (value, next position), or position -1 when cut short."""
    raw = np.uint64(0)
    shift = np.uint64(0)
    while p < end:
        byte = np.uint64(buf[p])
        p += 1
        raw |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            if shift == np.uint64(63) and byte > np.uint64(1):
                return np.int64(0), np.int64(-1)
            return np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1)), np.int64(p)
        shift += np.uint64(7)
        if shift > np.uint64(63):
            return np.int64(0), np.int64(-1)
    return np.int64(0), np.int64(-1)


@kernel
def find_records(
    buf: Any, count: int, base_offset: int, first: int, offsets: Any, key_at: Any, key_size: Any,
    value_at: Any, value_size: Any,
) -> int:  # fmt: skip
    """Locate `count` records in `buf: uint8[:]`, writing positions into the int64 arrays.

    Sizes are -1 for null. Records whose offset is below `first` (already consumed; a seek may land inside a
    batch) are left out. Returns how many were written, or -1 when the batch is not well formed (its offsets
    have to rise, too), in which case nothing of it may be used. Nothing outside a record's own bytes is read.
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
