"""A batch of rows is what a reader of the changelog makes the same rows of."""

from __future__ import annotations

import numpy as np
import pytest

from streams.engine.partition import Partition
from streams.state.key_index import KeyIndex
from streams.state.packing import ID_WORDS, unpack_values
from streams.state.row_batch import BATCH_BYTES, write_records
from tests.doubles.outputs import messages

WORDS = 150
LAYOUT = 77
DEFAULT = np.full(WORDS, np.nan)
DEFAULT[::3] = 0.0


@pytest.fixture
def partition() -> Partition:
    """Rows of keys of all lengths, whole and packed."""
    draw = np.random.default_rng(1)
    made = Partition(0, 1, 1, DEFAULT, np.zeros(0, np.int64), places=64)
    keys = [b"k" * size + b"%d" % size for size in (*range(100), 8_000, 20_000)]
    slots = np.array([made.index.slot_of(key) for key in keys])
    made.make_room()
    rows = draw.normal(size=(len(keys), WORDS)) * (draw.random((len(keys), WORDS)) < 0.2)
    made.rows.put_whole(slots, rows)
    return made


def test_every_row_comes_back(partition: Partition) -> None:
    slots = partition.held_slots()[::-1].copy()
    batch = partition.records(slots, LAYOUT)
    assert batch.record_count() == len(slots)
    found = messages(batch)
    assert [one["key"] for one in found] == partition.index.keys(slots)
    data = np.frombuffer(b"".join(one["value"] for one in found), np.uint8)
    sizes = np.array([len(one["value"]) for one in found])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    assert {int(data[at : at + 8].view(np.int64)[0]) for at in starts} == {LAYOUT}
    rows = np.empty((len(slots), WORDS))
    assert (
        unpack_values(data, starts, sizes, DEFAULT.view(np.int64).reshape(1, -1), rows.view(np.int64)) == -1
    )
    np.testing.assert_array_equal(rows, partition.rows.copy(slots))


def test_what_has_no_room_is_left(partition: Partition) -> None:
    """A batch that is too small for all of it takes the first ones, and nothing is written behind its end."""
    slots = partition.held_slots()
    store, index = partition.rows.store, partition.index
    for room in (0, 1_000, 1_500, 5_000, 40_000, BATCH_BYTES):
        out = np.full(room + 64, 255, np.uint8)
        count, used = write_records(store, index.spans, index.arena, slots, LAYOUT, out[:room])
        assert used <= room
        assert (out[used:] == 255).all()
        assert count == len(slots) or (
            count < len(slots) and used + 8 * (ID_WORDS + WORDS) + 32 + 20_000 > room
        )
    assert count == len(slots)


def test_an_empty_index_gives_an_empty_batch() -> None:
    made = Partition(0, 1, 1, DEFAULT, np.zeros(0, np.int64), places=64)
    assert isinstance(made.index, KeyIndex)
    assert made.records(np.empty(0, np.int64), LAYOUT).record_count() == 0
