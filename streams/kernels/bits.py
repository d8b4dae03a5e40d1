"""Counts bits in kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels.jit import inlined


@inlined
def bits_set(word: Any) -> Any:
    """Number of bits set (Warren, Hacker's Delight, 5-1)."""
    x = np.uint64(word)
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))
