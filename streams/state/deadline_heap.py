"""Finds due deadlines without reading every row: a heap with one valid entry a slot, at its earliest possible due time.

An entry is (wake time, slot). `wake[slot]` is the time of the slot's valid entry (0 = none); any other entry of the
slot is stale and is dropped when it reaches the top. A deadline that moves later costs nothing until its old wake time
comes. The order is (time, hash of the key), so that it does not depend on which key got which slot.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels import inlined, kernel

from .key_index import KNOWN, Index
from .row_kernels import copy_row, first_word
from .store import NEW, Store


@inlined
def _before(a: float, hash_a: Any, b: float, hash_b: Any) -> bool:
    return a < b or (a == b and hash_a < hash_b)


@kernel
def push(times: Any, slots: Any, size: int, hashes: Any, wake: Any, time: float, slot: int) -> int:
    """Enter (time, slot) into the heap `times: float64[c]`, `slots: int64[c]`; returns its new size."""
    wake[slot] = time
    h = hashes[slot]
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if not _before(time, h, times[parent], hashes[slots[parent]]):
            break
        times[child] = times[parent]
        slots[child] = slots[parent]
        child = parent
    times[child] = time
    slots[child] = slot
    return size + 1


@kernel
def pop(times: Any, slots: Any, size: int, hashes: Any) -> int:
    """Remove the first entry; returns the heap's new size."""
    size -= 1
    time = times[size]
    slot = slots[size]
    h = hashes[slot]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _before(times[right], hashes[slots[right]], times[child], hashes[slots[child]]):
            child = right
        if not _before(times[child], hashes[slots[child]], time, h):
            break
        times[hole] = times[child]
        slots[hole] = slots[child]
        hole = child
    times[hole] = time
    slots[hole] = slot
    return size


@inlined
def earliest(rows: Any, row: int, words: Any) -> Any:
    """Return the earliest due time among the deadline `words: int64[d]` of `rows[row]`: (time or 0, which or -1)."""
    best = 0.0
    which = -1
    for d in range(len(words)):
        due = rows[row, words[d]]
        if due > 0.0 and (which < 0 or due < best):
            best = due
            which = d
    return best, which


@kernel
def rebuild(store: Store, index: Index, words: Any, times: Any, slots: Any, wake: Any, row: Any) -> int:
    """Rebuild the heap from the rows (after a restore); returns its size. `row: float64[1, words]` is scratch."""
    size = 0
    for slot in range(index.counters[KNOWN]):
        wake[slot] = 0.0
        if store.where[slot] == NEW:
            continue
        copy_row(store, slot, row.view(np.int64), 0)
        due, which = earliest(row, 0, words)
        if which >= 0:
            size = push(times, slots, size, index.hashes, wake, due, slot)
    return size


@kernel
def stale(store: Store, index: Index, dirty: Any, wake: Any, before_ms: float, first: int, out: Any) -> Any:
    """Find stale rows among the `len(out)` slots from `first` on.

    A row is stale when its clock (word 0) is before `before_ms`, it waits for no deadline and nobody has to write it.
    Returns how many slots are in `out: int64[:]`, and where to go on.
    """
    known = index.counters[KNOWN]
    row: Any = np.int64(first)
    count = 0
    for _ in range(min(len(out), known)):
        if row >= known:
            row = 0
        if index.spans[row] >= 0 and dirty[row] == 0 and wake[row] == 0.0:
            clock = first_word(store, row)
            if 0.0 < clock < before_ms:
                out[count] = row
                count += 1
        row += 1
    return count, row
