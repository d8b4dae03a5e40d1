"""Checks UTF-8 in kernels, as strictly as Python does."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels.jit import inlined, kernel

HIGH_BITS = np.uint64(0x8080808080808080)


@inlined
def is_ascii(buf: Any, p: int, end: int) -> Any:
    """Whether `buf[p:end]` has no byte above 127; checks eight at a time."""
    while p + 8 <= end:
        if buf[p : p + 8].view(np.uint64)[0] & HIGH_BITS != np.uint64(0):
            return False
        p += 8
    high = np.uint8(0)
    while p < end:
        high |= buf[p]
        p += 1
    return high < 0x80


@kernel
def valid_utf8(buf: Any, p: int, end: int) -> bool:
    """Whether Python's strict decoder would accept `buf[p:end]` as UTF-8 (RFC 3629; no surrogates)."""
    while p < end:
        a = buf[p]
        if a < 0x80:
            p += 1
        elif a < 0xC2:
            return False
        elif a < 0xE0:
            if p + 1 >= end or buf[p + 1] & 0xC0 != 0x80:
                return False
            p += 2
        elif a < 0xF0:
            if p + 2 >= end or buf[p + 1] & 0xC0 != 0x80 or buf[p + 2] & 0xC0 != 0x80:
                return False
            if (a == 0xE0 and buf[p + 1] < 0xA0) or (a == 0xED and buf[p + 1] >= 0xA0):
                return False
            p += 3
        elif a < 0xF5:
            if (
                p + 3 >= end
                or buf[p + 1] & 0xC0 != 0x80
                or buf[p + 2] & 0xC0 != 0x80
                or buf[p + 3] & 0xC0 != 0x80
            ):
                return False
            if (a == 0xF0 and buf[p + 1] < 0x90) or (a == 0xF4 and buf[p + 1] >= 0x90):
                return False
            p += 4
        else:
            return False
    return True
