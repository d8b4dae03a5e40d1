"""Promise: what is written of a partition is its state at the end of a commit cycle, also while it is compacted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import orjson
import pytest

from backup.file.records import decode
from backup.file.summary import Slice
from backup.make.changelog_cut import Cut, find_cut, latest_offsets, write_cut
from backup.topic_log import Record
from streams.durability.control_row import CONTROL_KEY
from streams.errors import Retryable

LAYOUT = b"\0layout:7"


def control(**offsets: int) -> bytes:
    return orjson.dumps({"offsets": offsets, "layout": 7})


class Broker:
    """A partition that may be compacted between two readings. `on_read`: what happens before the n-th."""

    def __init__(self, records: list[tuple[bytes, bytes | None]]) -> None:
        self.records = [Record(offset, *record) for offset, record in enumerate(records)]
        self.end = len(records)
        self.on_read: dict[int, Callable[[], None]] = {}
        self._reads = 0

    def append(self, key: bytes, value: bytes | None) -> None:
        self.records.append(Record(self.end, key, value))
        self.end += 1

    def compact(self) -> None:
        newest = {record.key: record.offset for record in self.records}
        self.records = [record for record in self.records if newest[record.key] == record.offset]

    def bounds(self, topic: str, number: int) -> tuple[int, int]:
        return 0, self.end

    def read(self, topic: str, number: int, begin: int, end: int) -> Iterator[Record]:
        self._reads += 1
        self.on_read.get(self._reads, lambda: None)()
        return iter([record for record in self.records if begin <= record.offset < end])


def taken(
    broker: Broker, begin: int = 0, end: int | None = None, marks: bool = False
) -> tuple[Slice, list[tuple[bytes, bytes | None]], Cut]:
    end = broker.end if end is None else end
    cut = find_cut(broker, "log", 0, begin, end, lambda offsets: None)  # type: ignore[arg-type]
    part = Slice(begin, cut.offset, marks=marks)
    found: list[bytes] = []
    write_cut(broker, "log", 0, cut, part, found.append, lambda offsets: None)  # type: ignore[arg-type]
    return part, list(decode(b"".join(found))), cut


CYCLES: list[tuple[bytes, bytes | None]] = [
    (b"a", b"a1"), (LAYOUT, b"{}"), (b"b", b"b1"), (CONTROL_KEY, control(web=10)),
    (b"a", b"a2"), (b"c", b"c2"), (b"b", None), (CONTROL_KEY, control(sales=4)),
    (b"c", b"c3"), (b"d", b"d3"),
]  # fmt: skip


def test_the_newest_of_each_key_up_to_the_newest_control_row() -> None:
    part, records, cut = taken(Broker(CYCLES))
    assert records == [(LAYOUT, b"{}"), (b"a", b"a2"), (b"c", b"c2"), (CONTROL_KEY, control(sales=4))]
    assert (part.cut, part.rows, part.deleted, part.ahead, cut.layout) == (8, 2, 0, 0, 7)
    assert latest_offsets({"web": 9, "social": 3}, cut) == {"web": 10, "social": 3, "sales": 4}


def test_an_increment_goes_on_there_and_keeps_the_marks_of_deleted_keys() -> None:
    part, records, _ = taken(Broker(CYCLES), begin=4, marks=True)
    assert records == [(b"a", b"a2"), (b"c", b"c2"), (b"b", None), (CONTROL_KEY, control(sales=4))]
    assert (part.rows, part.deleted) == (2, 1)
    broker = Broker(CYCLES)
    broker.append(CONTROL_KEY, control())
    _, records, _ = taken(broker, begin=8, marks=True)
    assert records == [(b"c", b"c3"), (b"d", b"d3"), (CONTROL_KEY, control())]


def test_without_a_control_row_nothing_is_taken() -> None:
    part, records, _ = taken(Broker(CYCLES[:3]))
    assert (part.cut, records) == (0, [])


@pytest.mark.parametrize("reading", [1, 2])
def test_a_row_that_is_compacted_away_meanwhile_is_taken_from_behind_the_cut(reading: int) -> None:
    broker = Broker(CYCLES)
    end = broker.end

    def compact() -> None:
        broker.append(b"a", b"a4")
        broker.compact()

    broker.on_read[reading] = compact
    part, records, _ = taken(broker, end=end)
    found = dict(records)
    assert (found[b"a"], found[b"c"]) == (b"a4", b"c3")
    # compacted before anything was read, nothing tells that d is new
    assert (part.ahead, b"d" in found) == ((3, True) if reading == 1 else (2, False))


def test_an_older_compaction_leaves_the_cut_exact() -> None:
    broker = Broker([*CYCLES[:8]])
    broker.compact()
    for key, value in [(b"c", b"c3"), (CONTROL_KEY, control()), (b"d", b"d4"), (b"a", b"a4")]:
        broker.append(key, value)
    part, records, _ = taken(broker)
    assert dict(records) == {LAYOUT: b"{}", b"a": b"a2", b"c": b"c3", CONTROL_KEY: control()}
    assert part.ahead == 0


def test_a_log_that_is_compacted_faster_than_it_is_read_is_left_alone() -> None:
    broker = Broker(CYCLES)

    def gone() -> None:
        broker.records = [record for record in broker.records if record.key != b"a"]

    broker.on_read[2] = gone
    with pytest.raises(Retryable, match="compacted faster than it is read"):
        taken(broker)
