"""Keeps the memory of freed arrays for the next ones, and grows large arrays without a copy."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

# https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
KEPT_BYTES = 1 << 30
STEP_BYTES = 64 << 20
LARGEST_KEPT_BYTES = 32 << 20  # the largest threshold that glibc takes
HUGE_FROM_BYTES = 4 << 20
RESERVED_BYTES = 16 << 30  # of addresses, not of memory: 60 million packed rows of 250 bytes


def keep_memory() -> bool:
    """Tell glibc to keep the pages of freed arrays; returns whether it will. Without glibc it does nothing.

    A batch's columns are so large that glibc would otherwise map them anew for each batch, and to fault a page in costs
    more than to decode its content (measured: 7 microseconds a page on a virtual machine, a tenth of all work).
    Call it before the first thread starts, so that all threads share one arena.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (_ARENA_MAX, 1), (_MMAP_THRESHOLD, LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, KEPT_BYTES), (_TOP_PAD, STEP_BYTES)
    )  # fmt: skip
    return all(mallopt(option, value) == 1 for option, value in wanted)


def give_back() -> None:
    """Return the freed pages that `keep_memory` keeps to the system (measured: 6 ms for 100 MB).

    Call it now and then: pages that a moment of lag took are not needed soon; any other is faulted in again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
    """Like `numpy.zeros`, but a large array has pages of its own, which the system gets back when the array is freed.

    Otherwise `keep_memory` would keep the old halves of arrays that double: as much again as the arrays take.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < HUGE_FROM_BYTES:
        return np.zeros(shape, dtype)
    pages = _pages(size)
    _in_huge_pages(pages)
    return np.frombuffer(pages, dtype).reshape(shape)


def _pages(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _in_huge_pages(pages: mmap.mmap) -> None:
    advise = getattr(mmap, "MADV_HUGEPAGE", None)  # access is in random order: fewer pages to look up
    if advise is not None:
        pages.madvise(advise)


class Stretched:
    """An int64 array that grows without a copy: it stands at the start of a reserved range of addresses.

    The system gives the range pages as they are used. The array does not move while the range is large enough, because
    the system splits huge pages that move into small ones (measured: with 500 MB of packed rows in small pages an event
    costs a quarter more).
    `stretch` and `shrink` replace `array`: do not keep a reference to it.
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
        """Make room for at least `words` words; the content stays."""
        growth = int(self.GROWTH * len(self.array))
        reserved = len(self._map) // 8
        words = max(words, growth if words > reserved else min(growth, reserved))
        self.array = None
        if 8 * words > len(self._map):
            self._move(8 * words + -8 * words % mmap.PAGESIZE)
        self._view(words)

    def shrink(self, words: int) -> None:
        """Cut the array to `words` words and return the memory behind them to the system."""
        self.array = None
        start = 8 * words + -8 * words % mmap.PAGESIZE
        forget = getattr(mmap, "MADV_DONTNEED", None)
        if forget is not None and start < len(self._map):
            self._map.madvise(forget, start, len(self._map) - start)
        self._view(words)

    def _move(self, size: int) -> None:
        try:
            self._map.resize(size)
        except (SystemError, ValueError):  # the system cannot move pages: copy them
            larger = _pages(size)
            larger[: len(self._map)] = self._map[:]
            self._map = larger


def _reserve(size: int, reserved: int) -> mmap.mmap:
    """Map `reserved` bytes; fewer, but at least `size`, on a system that does not overcommit memory."""
    while reserved > size:
        try:
            return _pages(reserved)
        except (OSError, ValueError):
            reserved //= 2
    return _pages(size)


def grown(array: Any, size: int) -> Any:
    """Return a copy of `array` with `size` rows; the new ones are zero."""
    bigger = zeros((size, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger
