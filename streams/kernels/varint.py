"""Reads varints as Kafka records and Avro write them: seven bits a byte, zig-zag for signs."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels.jit import inlined


@inlined
def read_varint(buf: Any, p: int, end: int) -> Any:
    """Read one zig-zag varint of at most 10 bytes; returns (value, next position), position -1 when it is malformed."""
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
