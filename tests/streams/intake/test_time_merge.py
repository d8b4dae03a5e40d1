"""Partitions in order of time, as far as it is known what comes next; the file of what is out of stock."""

from __future__ import annotations

import os
from pathlib import Path

from faust.types.tuples import TP
from hypothesis import given
from hypothesis import strategies as st

from models.recommendation.stock import LOOK_S, Stock
from streams.intake.time_merge import ENOUGH, Event, TimeMerge

A, B = TP("sales.events", 0), TP("sales.events", 1)


def event(tp: TP, offset: int, time_ms: int) -> Event:
    return Event(tp, offset, time_ms, -1, b"c", {})


def taken(merging: TimeMerge) -> list[tuple[TP, int]]:
    found = []
    while one := merging.take():
        found.append((one.tp, one.offset))
    return found


def test_nothing_is_taken_while_another_partition_has_something_waiting() -> None:
    waiting = {B}
    merging = TimeMerge(waiting.__contains__)
    merging.begin([A, B])
    merging.add(A, 2, iter([event(A, 0, 5), event(A, 1, 9)]))
    assert taken(merging) == []
    assert merging.reached({A: 2, B: 0}) == {A: 0, B: 0}
    merging.add(B, 1, iter([event(B, 0, 7)]))
    assert taken(merging) == [(A, 0), (B, 0)]
    assert merging.reached({A: 2, B: 1}) == {A: 1, B: 1}
    waiting.clear()
    assert taken(merging) == [(A, 1)]
    assert merging.reached({A: 2, B: 1}) == {A: 2, B: 1}
    assert not merging


def test_enough_is_enough_and_a_new_assignment_begins_with_nothing() -> None:
    merging = TimeMerge(lambda tp: tp == B)
    merging.begin([A, B])
    merging.add(A, ENOUGH - 1, iter([event(A, 0, 5)]))
    assert not merging.full(A)
    merging.add(A, 1, iter([]))
    assert merging.full(A)
    merging.begin([B])
    assert not merging.full(A)
    assert len(merging) == 0


@given(
    st.lists(st.lists(st.integers(0, 20), max_size=8), min_size=3, max_size=3),
    st.lists(st.integers(1, 3), min_size=24),
)
def test_the_order_does_not_depend_on_the_batches(times: list[list[int]], sizes: list[int]) -> None:
    tps = [TP("t", number) for number in range(3)]
    events = {tp: [event(tp, n, at) for n, at in enumerate(of)] for tp, of in zip(tps, times, strict=True)}
    at_once = TimeMerge(lambda tp: False)
    at_once.begin(tps)
    for tp in tps:
        at_once.add(tp, len(events[tp]), iter(events[tp]))
    added = dict.fromkeys(tps, 0)
    merging = TimeMerge(lambda tp: added[tp] < len(events[tp]))
    merging.begin(tps)
    found = []
    for turn, size in enumerate(sizes * 3):
        tp = tps[turn % 3]
        part = events[tp][added[tp] : added[tp] + size]
        if part:
            merging.add(tp, len(part), iter(part))
        added[tp] += len(part)
        found += taken(merging)
    assert found == taken(at_once)


def test_what_is_out_of_stock_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    path, now = tmp_path / "absent.txt", 100.0
    path.write_text("a\n\n b \n")
    stock = Stock(path, lambda: now)
    assert stock.products == {"a", "b"}
    path.write_text("c\n")
    assert not stock.look()
    now += LOOK_S
    assert stock.look()
    assert stock.products == {"c"}
    now += LOOK_S
    assert not stock.look()
    path.write_bytes(b"\xff")
    os.utime(path, (1, 1))
    now += LOOK_S
    assert not stock.look()
    path.unlink()
    now += LOOK_S
    assert not stock.look()
    assert stock.products == {"c"}
    assert not Stock(None).look()
