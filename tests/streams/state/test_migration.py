"""Rows of another layout move as arrays just as they would word by word."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.state.migration import GONE, Moves, move, runs
from streams.state.packing import packed

OLD_WORDS, WORDS = 150, 160


def slowly(row: Any, how: Moves, default: Any) -> Any:
    """One row (int64[old words]), word by word."""
    moved = default.view(np.int64).copy()
    for word, to in enumerate(how.target.tolist()):
        if to != GONE:
            moved[to] = row[word]
    there, size, here, room = how.ring.tolist()
    if there >= 0:
        count = int(row[there : there + 1].view(np.float64)[0])
        newest = [int(row[there + 1 + n % size]) for n in range(max(0, count - size), count)]
        for number, value in list(enumerate(newest, count - len(newest)))[max(0, len(newest) - room) :]:
            moved[here + 1 + number % room] = value
    return moved


def put(rows: Any, how: Moves, into: Any, slots: Any) -> int:
    values, ends = packed(rows, how.was.reshape(1, -1), 7)
    return move(values.view(np.uint8), *places(ends), slots, how, into)


def places(ends: Any) -> tuple[Any, Any]:
    """Where values that end at these words start, and their sizes, in bytes."""
    at = 8 * np.concatenate([[0], ends[:-1]])[: len(ends)].astype(np.int64)
    return at, 8 * ends - at


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, Moves, Any]:
    """Rows, how they move, and the default row of the layout that they move to."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    old_words, words = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    ring = (-1, 0, -1, 0)
    first_there, first_here = 0, 0
    if draw(st.booleans()):
        there, here = draw(st.integers(0, 9)), draw(st.integers(0, 9))
        ring, first_there, first_here = (0, there, 0, here), 1 + there, 1 + here
    target = np.full(max(old_words, first_there), GONE, np.int64)
    free = np.arange(first_here, max(words, first_here))
    random.shuffle(free)
    for word in range(first_there, len(target)):
        if len(free) and random.random() < 0.8:
            target[word], free = free[0], free[1:]
    rows = random.integers(-(2**63), 2**63 - 1, (draw(st.integers(0, 6)), len(target)))
    rows[random.random(rows.shape) < 0.5] = 0
    if first_there:
        target[0] = 0
    default = random.integers(0, 3, max(words, first_here)).astype(np.float64)
    default[:first_here] = 0.0
    was = random.integers(-2, 2, len(target))
    rows = np.where(random.random(rows.shape) < 0.3, was, rows)
    if first_there:
        was[0], rows[:, 0] = 0, random.integers(0, 25, len(rows)).astype(np.float64).view(np.int64)
    return rows, Moves(target, was, default.view(np.int64), np.array(ring)), default


@given(cases())
@settings(max_examples=150, deadline=None)
def test_rows_move_as_word_by_word(case: tuple[Any, Moves, Any]) -> None:
    rows, how, default = case
    into = np.full((len(rows) + 2, len(default)), 99, np.int64)
    slots = np.arange(len(rows))[::-1] + 1
    assert put(rows, how, into, slots) == -1
    for row, slot in zip(rows, slots.tolist(), strict=True):
        assert into[slot].tolist() == slowly(row, how, default).tolist()
    assert (into[[0, -1]] == 99).all(), "another slot was written to"


def plain_case(count: int) -> tuple[Any, Moves, Any]:
    random = np.random.default_rng(1)
    target = np.arange(OLD_WORDS) + 5
    target[10:20] = GONE
    rows = random.integers(1, 2**60, (count, OLD_WORDS))
    rows[random.random(rows.shape) < 0.5] = 0
    nothing = np.array([-1, 0, -1, 0])
    how = Moves(target, np.zeros(OLD_WORDS, np.int64), np.zeros(WORDS, np.int64), nothing)
    return rows, how, np.zeros(WORDS)


@pytest.mark.parametrize("spoil", ["shorter", "longer", "mask", "beyond"])
def test_a_value_that_is_not_whole_is_told_and_not_written(spoil: str) -> None:
    rows, how, _ = plain_case(3)
    values, ends = packed(rows, how.was.reshape(1, -1), 7)
    data = values.copy()
    at, size = places(ends)
    head = int(at[1]) // 8 + 1
    if spoil == "shorter":
        size[1] -= 8
    elif spoil == "longer":
        size[1] += 8
    elif spoil == "mask":
        size[1] = 16
    else:  # a word beyond the last one of its layout, in place of the first that is there
        data[head] &= data[head] - 1
        data[head + 2] |= np.int64(-(2**63))
    into = np.full((3, WORDS), 99, np.int64)
    assert move(data.view(np.uint8), at, size, np.arange(3), how, into) == 1
    assert (into[0] != 99).all()
    assert (into[1:] == 99).all()


def test_neighbours_that_are_alike() -> None:
    assert runs(np.array([], np.int64)) == []
    assert runs(np.array([4])) == [(0, 1)]
    assert runs(np.array([1, 1, 2, 1, 1, 1, 3])) == [(0, 2), (2, 3), (3, 6), (6, 7)]


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="only compiled ones are fast")
def test_a_million_rows_take_seconds() -> None:
    rows, how, _ = plain_case(20_000)
    values, ends = packed(rows, how.was.reshape(1, -1), 7)
    at, size = places(ends)
    into = np.zeros((len(rows), WORDS), np.int64)
    slots = np.arange(len(rows))
    move(values.view(np.uint8)[:0], at[:0], size[:0], slots[:0], how, into)
    best = min(timed(lambda: move(values.view(np.uint8), at, size, slots, how, into)) for _ in range(5))
    assert len(rows) / best > 300_000  # 830,000 where it was measured


def timed(call: Any) -> float:
    """The processor time of a call: others may be at work on this machine."""
    started = time.process_time()
    call()
    return time.process_time() - started
