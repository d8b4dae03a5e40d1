"""Merges the events of several partitions in order of their time, as far as the next one is known.

While a partition has records at the broker but none here, the merge takes nothing from the others, so a complete log is
merged in the same order however it is fetched. A partition without records at the broker holds nobody up. Only the head
of each partition is decoded.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from faust.types.tuples import TP

ENOUGH: Final = 5000  # records of a partition that may wait for the others before its fetches pause


class Event(NamedTuple):
    """A decoded event, its place in the log and when it was appended (ms, -1 = not known)."""

    tp: TP
    offset: int
    time_ms: int
    appended_ms: int
    key: bytes
    record: dict[str, Any]


class TimeMerge:
    """Merges by time: `add` in each partition's order, `take` in order of time; ties go by topic and partition."""

    def __init__(self, waiting: Callable[[TP], bool]) -> None:
        """`waiting(tp)` says whether the broker has records of the partition that are not added yet."""
        self._waiting = waiting
        self._batches: dict[TP, deque[tuple[int, Iterator[Event]]]] = {}
        self._heads: list[tuple[int, TP, Event]] = []
        self._headless: set[TP] = set()

    def begin(self, tps: Iterable[TP]) -> None:
        """Begin anew with these partitions and no others; drop the events that waited."""
        self._batches = {tp: deque() for tp in tps}
        self._heads, self._headless = [], set(self._batches)

    def add(self, tp: TP, count: int, events: Iterator[Event]) -> None:
        """Add `count` more records of a partition, which are decoded when their turn comes."""
        self._batches[tp].append((count, events))

    def take(self) -> Event | None:
        """Take the next event; None while it is not known which one that is."""
        for tp in [tp for tp in self._headless if self._batches[tp]]:
            self._advance(tp)
        if not self._heads or any(map(self._waiting, self._headless)):
            return None
        _, tp, event = heapq.heappop(self._heads)
        self._headless.add(tp)
        self._advance(tp)
        return event

    def _advance(self, tp: TP) -> None:
        """Decode the next event of a partition, if it has one."""
        batches = self._batches[tp]
        while batches:
            event = next(batches[0][1], None)
            if event is not None:
                heapq.heappush(self._heads, (event.time_ms, tp, event))
                self._headless.discard(tp)
                return
            batches.popleft()

    def full(self, tp: TP) -> bool:
        """Whether `ENOUGH` records of the partition wait here. Any thread may ask."""
        return sum(count for count, _ in list(self._batches.get(tp, ()))) >= ENOUGH

    def reached(self, positions: dict[TP, int]) -> dict[TP, int]:
        """Return the offsets up to which all events are taken. All records before `positions` have been added.

        A partition without a head has nothing left here.
        """
        return positions | {tp: event.offset for _, tp, event in self._heads}

    def __len__(self) -> int:
        """How many partitions have something here."""
        return len(self._heads) + sum(1 for tp in self._headless if self._batches[tp])
