"""The hash of keys, message ids and strings: it takes eight bytes a step and is the same on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import inlined, kernel

SEED = np.uint64(0x9E3779B97F4A7C15)
LENGTH = np.uint64(0xC2B2AE3D27D4EB4F)
STEP = np.uint64(0xFF51AFD7ED558CCD)
FINISH = np.uint64(0xC4CEB9FE1A85EC53)
MASK52 = np.uint64((1 << 52) - 1)  # an integer below 2^52 is exact as a float64


@inlined
def word_at(buf: Any, start: int, size: int) -> Any:
    """Read `size` bytes (1 to 8) of `buf: uint8[:]` as a little-endian uint64."""
    word = np.uint64(0)
    for k in range(size):
        word |= np.uint64(buf[start + k]) << np.uint64(8 * k)
    return word


@kernel
def hash64(buf: Any, start: int, size: int) -> Any:
    """Hash `buf[start : start + size]` (uint8) to a uint64. docs/ARCHITECTURE.md depends on no particular hash."""
    h = SEED ^ (np.uint64(size) * LENGTH)
    p = start
    end = start + size
    while p + 8 <= end:
        word = (
            np.uint64(buf[p])
            | np.uint64(buf[p + 1]) << np.uint64(8)
            | np.uint64(buf[p + 2]) << np.uint64(16)
            | np.uint64(buf[p + 3]) << np.uint64(24)
            | np.uint64(buf[p + 4]) << np.uint64(32)
            | np.uint64(buf[p + 5]) << np.uint64(40)
            | np.uint64(buf[p + 6]) << np.uint64(48)
            | np.uint64(buf[p + 7]) << np.uint64(56)
        )
        h = (h ^ word) * STEP
        h ^= h >> np.uint64(32)
        p += 8
    if p < end:
        h = (h ^ word_at(buf, p, end - p)) * STEP
        h ^= h >> np.uint64(32)
    h *= FINISH
    return h ^ (h >> np.uint64(29))


def hash_bytes(data: bytes) -> int:
    """Hash one byte string to a uint64, outside kernels."""
    with np.errstate(over="ignore"):
        return int(hash64(np.frombuffer(data, np.uint8), 0, len(data)))


def hash_text(text: str) -> float:
    """Hash a string to 52 bits; the fields of an event hold this in its place."""
    return float(hash_bytes(text.encode()) & int(MASK52))
