"""Rows come and go between whole and packed, are forgotten and taken anew, and are always what was written last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kernels.jit import kernel
from streams.state.packing import packed
from streams.state.row_kernels import keep_row, place_of
from streams.state.rows import LEAST_PLACES, Rows

WORDS = 70  # two words of mask
DEFAULT = np.zeros(WORDS)
DEFAULT[[1, 69]] = -1.0
NEW_ROW = DEFAULT.view(np.int64).reshape(1, -1)
LAYOUT = 7
many = settings(deadline=None, max_examples=60)  # the first call compiles

slots = st.integers(0, 3 * LEAST_PLACES)
fills = st.lists(st.tuples(st.integers(0, WORDS - 1), st.floats(allow_nan=False)), max_size=12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), slots, fills),
        st.tuples(st.just("put"), slots, fills),
        st.tuples(st.just("forget"), slots, st.just([])),
    ),
    max_size=300,
)


@kernel
def place_in(store: Any, slot: int) -> Any:
    return place_of(store, slot)


def whole(rows: Rows, slot: int) -> int:
    """The row's place, room made for it when there is none: as the engine does it."""
    place = place_in(rows.store, slot)
    if place < 0:
        rows.make_room()
        place = place_in(rows.store, slot)
    assert place >= 0
    return int(place)


def filled(row: np.ndarray, fill: list[tuple[int, float]]) -> np.ndarray:
    for word, value in fill:
        row[word] = value
    return row


def put(rows: Rows, slot: int, row: np.ndarray) -> None:
    rows.put_whole(np.array([slot]), row.reshape(1, -1))


def check(rows: Rows, expected: dict[int, np.ndarray]) -> None:
    every = np.arange(3 * LEAST_PLACES + 1)
    wanted = np.array([expected.get(slot, DEFAULT) for slot in every.tolist()])
    assert rows.copy(every).tobytes() == wanted.tobytes()
    values, ends = rows.values(every, LAYOUT)
    alone, alone_ends = packed(wanted.view(np.int64), NEW_ROW, LAYOUT)
    assert values.tobytes() == alone.tobytes()
    assert ends.tolist() == alone_ends.tolist()


@pytest.mark.parametrize("joined_from", [0, 1 << 14])
@many
@given(script=steps)
def test_a_row_is_what_was_written_last(
    joined_from: int, script: list[tuple[str, int, list[tuple[int, float]]]]
) -> None:
    rows = Rows(DEFAULT, LEAST_PLACES)
    rows._join_from = joined_from
    expected: dict[int, np.ndarray] = {}
    for what, slot, fill in script:
        row = filled(expected.get(slot, DEFAULT).copy(), fill)
        if what == "write":
            filled(rows.store.rows[whole(rows, slot)], fill)
            expected[slot] = row
        elif what == "put":
            put(rows, slot, row)
            expected[slot] = row
        else:
            rows.forget(slot)
            expected.pop(slot, None)
            rows.make_room()
            rows._join_from = joined_from
    check(rows, expected)


def test_more_rows_than_places_and_all_of_them_again_and_again() -> None:
    rows = Rows(DEFAULT, LEAST_PLACES)
    draw = np.random.default_rng(1)
    expected: dict[int, np.ndarray] = {}
    for _ in range(20_000):
        slot = int(draw.integers(0, 3 * LEAST_PLACES + 1))
        fill = [(int(draw.integers(0, WORDS)), float(draw.integers(0, 3))) for _ in range(3)]
        filled(rows.store.rows[whole(rows, slot)], fill)
        expected[slot] = filled(expected.get(slot, DEFAULT).copy(), fill)
    check(rows, expected)


def test_a_row_that_is_kept_is_written_as_it_was_once() -> None:
    rows = Rows(DEFAULT, LEAST_PLACES)
    before = filled(DEFAULT.copy(), [(7, 1.0)])
    put(rows, 5, before)
    rows.make_room()
    place = whole(rows, 5)
    keep_row(rows.store, 5, place)
    rows.store.rows[place, 7] = 2.0
    for _ in range(3):  # also when the row itself is packed meanwhile
        rows.make_room()
        for slot in range(100, 100 + LEAST_PLACES):
            whole(rows, slot)
    after = filled(DEFAULT.copy(), [(7, 2.0)])
    assert rows.copy(np.array([5]))[0].tobytes() == after.tobytes()
    for wanted in (before, after):
        values, _ = rows.values(np.array([5]), LAYOUT)
        assert values.tobytes() == packed(wanted.view(np.int64).reshape(1, -1), NEW_ROW, LAYOUT)[0].tobytes()


def test_blocks_of_forgotten_rows_are_used_again() -> None:
    rows = Rows(DEFAULT, LEAST_PLACES)
    row = filled(DEFAULT.copy(), [(3, 1.0), (68, 2.0)])
    for slot in range(50):
        put(rows, slot, row)
    size = rows.nbytes
    for turn in range(20):
        for slot in range(50):
            rows.forget(slot)
            put(rows, slot, filled(row.copy(), [(4, float(turn % 2))]))
    assert rows.nbytes <= size + 50 * 8 * 7  # the one word more makes a block of another length


@pytest.mark.parametrize("joined", [True, False])
def test_rows_that_grow_word_by_word_take_what_shorter_ones_left(
    joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that one row leaves is too short for all the others, but not with its neighbours."""
    monkeypatch.setattr("streams.state.rows.JOINED_FROM_WORDS", 64 if joined else 1 << 40)
    monkeypatch.setattr("streams.state.rows.JOINED_BLOCK_WORDS", 0)
    rows, count, draw = Rows(DEFAULT, LEAST_PLACES), 2000, np.random.default_rng(3)
    rows.grow(count)
    expected = np.tile(DEFAULT, (count, 1))
    for length in range(2, 60):
        for slot in draw.permutation(count).tolist():
            expected[slot, 1 + (slot + length) % (WORDS - 2)] = length + slot / count
            put(rows, slot, expected[slot])
            if slot % 64 == 0:
                rows.make_room()
    assert rows.copy(np.arange(count)).tobytes() == expected.tobytes()
    live = packed(expected.view(np.int64), NEW_ROW, LAYOUT)[0].nbytes
    assert (rows.nbytes < 2.0 * live) == joined


def test_when_all_blocks_are_free_the_array_is_as_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.state.rows.JOINED_FROM_WORDS", 1)
    rows = Rows(DEFAULT, LEAST_PLACES)
    for slot in range(50):
        put(rows, slot, filled(DEFAULT.copy(), [(word, 1.0) for word in range(2, 3 + slot)]))
    for slot in range(50):
        rows.forget(slot)
    rows.make_room()
    assert rows.nbytes == 0


def test_a_full_store_says_so_and_keeps_its_rows() -> None:
    rows = Rows(DEFAULT, LEAST_PLACES)
    for slot in range(LEAST_PLACES):
        rows.store.rows[place_in(rows.store, slot), 5] = slot + 1.0
    assert place_in(rows.store, LEAST_PLACES) == -1
    rows.make_room()
    assert place_in(rows.store, LEAST_PLACES) >= 0
    assert rows.copy(np.arange(LEAST_PLACES))[:, 5].tolist() == [slot + 1.0 for slot in range(LEAST_PLACES)]


@pytest.mark.parametrize("cut", [8, 16, -8])
def test_a_value_that_is_not_whole_changes_nothing(cut: int) -> None:
    rows = Rows(DEFAULT, LEAST_PLACES)
    before = filled(DEFAULT.copy(), [(2, 5.0)])
    put(rows, 0, before)
    after = filled(DEFAULT.copy(), [(2, 6.0)]).view(np.int64).reshape(1, -1)
    values, ends = packed(after, NEW_ROW, LAYOUT)
    size = np.array([8 * int(ends[0]) - cut])
    assert rows.put(values.view(np.uint8), np.array([0]), size, np.array([0])) == 0
    assert rows.copy(np.array([0]))[0].tobytes() == before.tobytes()


def test_all_rows_stand_whole_while_there_is_room_and_few_of_very_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.state.rows.FEWER", 8)  # to give up many at once would hold up the events
    row_bytes = 8 * WORDS
    rows = Rows(DEFAULT, LEAST_PLACES, rows_bytes=20 * LEAST_PLACES * row_bytes)
    draw = np.random.default_rng(5)
    expected: dict[int, np.ndarray] = {}
    places = []
    for slot in range(100 * LEAST_PLACES):
        rows.grow(slot + 1)
        place = whole(rows, slot)
        row = rows.store.rows[place]
        row[draw.integers(1, WORDS, 14)] = slot + 1.0
        expected[slot] = row.copy()
        again = int(draw.integers(0, slot + 1))
        place = whole(rows, again)
        assert rows.store.rows[place].tobytes() == expected[again].tobytes()
        places.append(len(rows.store.owner))
        if slot < 8 * LEAST_PLACES:
            assert (rows.store.where[: slot + 1] >= 0).all()
    assert max(places) > 10 * LEAST_PLACES
    assert LEAST_PLACES <= places[-1] <= 1.2 * LEAST_PLACES
    assert -np.diff(places).min() < LEAST_PLACES
    every = np.arange(len(expected))
    assert rows.copy(every).tobytes() == np.array([expected[slot] for slot in every.tolist()]).tobytes()
