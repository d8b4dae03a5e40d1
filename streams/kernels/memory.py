"""Memory of freed arrays is kept for the next ones, and one array grows where it is."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

# https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
KEPT_BYTES = 1 << 30
STEP_BYTES = 64 << 20
LARGEST_KEPT_BYTES = 32 << 20  # glibc takes no more
HUGE_FROM_BYTES = 4 << 20
RESERVED_BYTES = 16 << 30  # of addresses, not of memory: 60 million packed rows of 250 bytes


def keep_memory() -> bool:
    """Tell glibc not to give the pages of freed arrays back; whether it took it (elsewhere nothing is done).

    A batch's columns are large enough to be mapped anew for each batch otherwise, and to fault a page in costs more
    than to decode what goes into it (measured: 7 microseconds a page on a virtual machine, a tenth of all work).
    Call it before threads are started: they share one arena then.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (_ARENA_MAX, 1), (_MMAP_THRESHOLD, LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, KEPT_BYTES), (_TOP_PAD, STEP_BYTES)
    )  # fmt: skip
    return all(mallopt(option, value) == 1 for option, value in wanted)


def give_back() -> None:
    """Give the freed pages that `keep_memory` keeps back to the system (measured: 6 ms for 100 MB).

    Now and then: what a moment of lag took is not needed soon, and what is needed is faulted in again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """`numpy.zeros`; a large array has pages of its own, which go when it goes: what `keep_memory` keeps of arrays that
    doubled is as much again as they are."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < HUGE_FROM_BYTES:
        return np.zeros(shape, dtype)
    pages = _pages(size)
    _in_huge_pages(pages)
    return np.frombuffer(pages, dtype).reshape(shape)


def _pages(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _in_huge_pages(pages: mmap.mmap) -> None:
    advise = getattr(mmap, "MADV_HUGEPAGE", None)  # rows are met in any order: fewer pages to look up
    if advise is not None:
        pages.madvise(advise)


class Stretched:
    """An int64 array that grows without being copied: it begins a range of addresses that is reserved for it, whose
    pages come as they are used. Its place is its place: huge pages that move are cut into small ones (measured: with
    500 MB of packed rows in small pages an event costs a quarter more).

    `array` is replaced by `stretch`: nobody may keep it beyond.
    """

    GROWTH = 1.5

    def __init__(self, words: int, reserved_bytes: int = RESERVED_BYTES) -> None:
        self._map = _reserve(8 * words, reserved_bytes)
        self._view(words)

    def _view(self, words: int) -> None:
        if 8 * words >= HUGE_FROM_BYTES:
            _in_huge_pages(self._map)
        self.array: Any = np.frombuffer(self._map, np.int64, words)

    def stretch(self, words: int) -> None:
        """Have room for at least `words` words; what was there stays."""
        growth = int(self.GROWTH * len(self.array))
        reserved = len(self._map) // 8
        words = max(words, growth if words > reserved else min(growth, reserved))
        self.array = None
        if 8 * words > len(self._map):
            self._move(8 * words + -8 * words % mmap.PAGESIZE)
        self._view(words)

    def shrink(self, words: int) -> None:
        """Have `words` words; the memory of those beyond is given back."""
        self.array = None
        start = 8 * words + -8 * words % mmap.PAGESIZE
        forget = getattr(mmap, "MADV_DONTNEED", None)
        if forget is not None and start < len(self._map):
            self._map.madvise(forget, start, len(self._map) - start)
        self._view(words)

    def _move(self, size: int) -> None:
        try:
            self._map.resize(size)
        except (SystemError, ValueError):  # a system that cannot move pages copies them
            larger = _pages(size)
            larger[: len(self._map)] = self._map[:]
            self._map = larger


def _reserve(size: int, reserved: int) -> mmap.mmap:
    """A map of `reserved` bytes; of less, but at least `size`, where the system promises no more than it has."""
    while reserved > size:
        try:
            return _pages(reserved)
        except (OSError, ValueError):
            reserved //= 2
    return _pages(size)


def grown(array: Any, size: int) -> Any:
    """A copy of `array` with room for `size` rows; what lies beyond the old ones is zero."""
    bigger = zeros((size, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger
