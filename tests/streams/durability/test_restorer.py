"""Rows come back from the changelog: current and older layouts, tombstones, control rows, in any batches."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from customers.row.layout import Layout
from streams.batches.record_batch import parse_batch
from streams.durability.control_row import CONTROL_KEY, LAYOUT_KEY
from streams.durability.restorer import Restorer
from streams.engine.partition import Partition
from streams.errors import Fatal
from streams.state.packing import packed
from tests.doubles import Rig
from tests.doubles.outputs import messages
from tests.reference import batches, streams
from tests.reference.record import Record

WORK = Rig().work
LAYOUT: Layout = WORK.layout
OLD_ID = 77
OLD = orjson.dumps(
    {
        "groups": [["clock", 1, ["clock"]], ["gone", 2, ["gone"]], ["applied:sales.events", 1, ["applied"]]],
        "views": [],
    }
)
Entry = tuple[bytes, bytes | None]


def row(clock: float) -> np.ndarray:
    found = LAYOUT.default_row.copy()
    found[0] = clock
    return found


def value_of(words: np.ndarray, layout: int) -> bytes:
    new = LAYOUT.default_row.view(np.int64) if layout == LAYOUT.layout_id else np.zeros(len(words), np.int64)
    values, _ = packed(words.reshape(1, -1).view(np.int64), new.reshape(1, -1), layout)
    return bytes(values)


def current(key: bytes, clock: float) -> Entry:
    return key, value_of(row(clock), LAYOUT.layout_id)


def older(key: bytes, clock: float, layout: int = OLD_ID) -> Entry:
    words = np.array([clock, 5.0, 6.0, 0.0])
    words.view(np.int64)[3] = 9
    return key, value_of(words, layout)


def restored(
    entries: list[Entry], sizes: list[int], codec: str = "lz4", first: int = 0
) -> tuple[Partition, Restorer]:
    partition = Partition(0, len(LAYOUT.topics), WORK.fields, LAYOUT.default_row, LAYOUT.deadline_words)
    restorer = Restorer(LAYOUT.layout_id, WORK.migration)
    records = [Record("changelog", 0, at, key, value, 0) for at, (key, value) in enumerate(entries)]
    for raw in streams.cut(records, sizes, [codec]):
        restorer.apply(partition, parse_batch(raw, first=first))
    return partition, restorer


def row_of(partition: Partition, key: bytes) -> np.ndarray:
    return partition.rows.copy(np.array([partition.index.find(key)]))[0]


def clocks(partition: Partition) -> dict[bytes, float]:
    index = partition.index
    keys = [index.key(slot) for slot in range(index.known) if index.spans[slot] >= 0]
    return {key: float(row_of(partition, key)[0]) for key in keys}


MIXED: list[Entry] = [
    (LAYOUT_KEY + str(OLD_ID).encode(), OLD),
    older(b"a", 10.0),
    older(b"b", 11.0),
    (CONTROL_KEY, orjson.dumps({"clocks": [1.0, 2.0]})),
    (LAYOUT_KEY + str(LAYOUT.layout_id).encode(), LAYOUT.description),
    current(b"a", 20.0),
    current(b"c", 21.0),
    current(b"c", 22.0),
    (b"b", None),
    (b"never there", None),
    (CONTROL_KEY, orjson.dumps({"clocks": [3.0, 4.0], "next": {"purchase": 2}})),
    current(b"d", 23.0),
]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_everything_a_changelog_holds(size: int) -> None:
    partition, restorer = restored(MIXED, [size])
    assert clocks(partition) == {b"a": 20.0, b"c": 22.0, b"d": 23.0}
    assert partition.index.find(b"b") is None
    assert restorer.control == {"clocks": [3.0, 4.0], "next": {"purchase": 2}}
    assert restorer.offset == len(MIXED) - 1
    assert partition.known_layouts == {OLD_ID, LAYOUT.layout_id}


def test_an_older_row_moves_by_name() -> None:
    partition, _ = restored(MIXED[:3], [100])
    expected = row(10.0)
    expected.view(np.int64)[1 + LAYOUT.topics.index("sales.events")] = 9
    assert row_of(partition, b"a").tobytes() == expected.tobytes()


@pytest.mark.parametrize("codec", batches.CODECS)
def test_many_rows_as_one_array(codec: str) -> None:
    entries = [current(b"key %d" % (n % 3000), float(n)) for n in range(5000)]
    partition, restorer = restored(entries, [700], codec)
    assert clocks(partition) == {b"key %d" % n: float(n + 3000 if n < 2000 else n) for n in range(3000)}
    assert restorer.rows == 5000


def test_rows_that_are_here_already_are_not_applied_again() -> None:
    partition, _ = restored([current(b"a", 1.0), current(b"b", 2.0)], [2], first=1)
    assert clocks(partition) == {b"b": 2.0}


def test_a_row_of_a_layout_that_nobody_describes_ends_the_worker() -> None:
    with pytest.raises(Fatal, match="row of layout 78, which it does not describe"):
        restored([*MIXED, older(b"x", 1.0, 78)], [100])


def test_a_row_that_is_not_whole_ends_the_worker() -> None:
    key, value = current(b"x", 1.0)
    assert value is not None
    with pytest.raises(Fatal, match="not whole"):
        restored([*MIXED, (key, value[:-8])], [1])


def test_a_damaged_batch_ends_the_worker_and_says_what_to_do() -> None:
    partition, restorer = restored(MIXED, [100])
    raw = batches.batch([Record("changelog", 0, 50, b"a" * 9, b"b" * 9, 0)], count=2, last_offset=51)
    with pytest.raises(Fatal, match="at offset 50 is damaged; restore it"):
        restorer.apply(partition, parse_batch(raw, first=0))


def test_deadlines_come_back_with_the_rows() -> None:
    log = streams.random_log(3, 400, partitions=1)
    first, second = Rig(), Rig()
    first.feed(streams.random_batches(log, 3))
    partition = first.engine.partitions[0]
    slots = partition.take_changed()
    entries = [
        (record["key"], record["value"]) for record in messages(partition.records(slots, LAYOUT.layout_id))
    ]
    again, _ = restored(list(reversed(entries)), [50])  # in other slots than before
    again.state = second.work.new_state()
    again.clocks[:] = partition.clocks
    second.engine.partitions[0] = again
    again.activate()
    sent = len(first.outputs.sent)
    for rig in (first, second):
        rig.engine.raise_watermark(rig.engine.partitions[0], streams.START_MS + 900 * streams.DAY)
    assert second.outputs.sent == first.outputs.sent[sent:]
    assert len(second.outputs.sent) > 20
    assert second.row_bytes() == first.row_bytes()
