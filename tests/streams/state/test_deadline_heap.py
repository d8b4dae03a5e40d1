"""streams/state/deadline_heap.py: a heap gives what a sorted list gives."""

from __future__ import annotations

import random
from bisect import insort
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.kernels.jit import kernel
from streams.state.deadline_heap import earliest, pop, push, rebuild
from streams.state.key_index import KeyIndex
from streams.state.row_kernels import place_of
from streams.state.rows import Rows
from tests.streams.arrays import many


@kernel
def earliest_of(rows: Any, row: int, words: Any) -> Any:
    return earliest(rows, row, words)


@kernel
def place(store: Any, slot: int) -> Any:
    return place_of(store, slot)


@many
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9), st.booleans()), max_size=60), st.integers(0, 99)
)
def test_the_heap_is_a_sorted_list(steps: list[tuple[int, int, bool]], seed: int) -> None:
    draw = random.Random(seed)
    hashes = np.array([draw.getrandbits(64) for _ in range(10)], np.uint64)
    times, slots, wake = np.zeros(64), np.zeros(64, np.int64), np.zeros(10)
    size = 0
    model: list[tuple[float, int]] = []
    for time, slot, take in steps:
        if take and model:
            expected = model.pop(0)
            assert (times[0], int(hashes[slots[0]])) == expected
            size = pop(times, slots, size, hashes)
        else:
            size = push(times, slots, size, hashes, wake, float(time), slot)
            insort(model, (float(time), int(hashes[slot])))
            assert wake[slot] == time
        assert size == len(model)


def test_the_earliest_deadline_of_a_row_and_on_equal_times_the_first() -> None:
    rows = np.array([[0.0, 0.0, 0.0], [0.0, 7.0, 5.0], [5.0, 5.0, 9.0]])
    words = np.array([0, 1, 2], np.int64)
    found = [earliest_of(rows, slot, words) for slot in range(3)]
    assert [(int(which), float(due)) for due, which in found] == [(-1, 0.0), (2, 5.0), (0, 5.0)]


def test_the_heap_is_rebuilt_from_the_rows_that_there_are() -> None:
    rows, index = Rows(np.zeros(2), 64), KeyIndex()
    for key in (b"a", b"b", b"c", b"gone", b"new"):
        index.slot_of(key)
    rows.put_whole(np.arange(4), np.array([[0.0, 9.0], [0.0, 0.0], [4.0, 6.0], [1.0, 1.0]]))
    assert place(rows.store, 0) >= 0  # whole; the others are packed
    rows.forget(3)
    index.remove(3)
    wake, times, slots = np.full(5, 77.0), np.zeros(8), np.zeros(8, np.int64)
    words = np.array([0, 1], np.int64)
    size = rebuild(rows.store, index.arrays, words, times, slots, wake, np.empty((1, 2)))
    wake = wake[:3]
    assert (size, wake.tolist()) == (2, [9.0, 0.0, 4.0])
    assert (times[0], slots[0]) == (4.0, 2)
