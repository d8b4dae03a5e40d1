"""Events of several partitions in order of their time, as far as it is known what comes next.

While a partition has records waiting at the broker and none here, nothing is taken from the others: a log that is there
as a whole is merged in the same order whatever the fetches were. Whoever has nothing waiting holds nobody up.
Only the head of each partition is decoded.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from faust.types.tuples import TP

ENOUGH: Final = 5000  # records of a partition that wait for others before no more of it is fetched


class Event(NamedTuple):
    """A decoded event, where it stands and when it was appended (ms, -1 = not known)."""

    tp: TP
    offset: int
    time_ms: int
    appended_ms: int
    key: bytes
    record: dict[str, Any]


class TimeMerge:
    """`add` in the order of each partition, `take` in the order of time; ties by topic and partition."""

    def __init__(self, waiting: Callable[[TP], bool]) -> None:
        """`waiting(tp)`: the broker has records of the partition that have not been added."""
        self._waiting = waiting
        self._batches: dict[TP, deque[tuple[int, Iterator[Event]]]] = {}
        self._heads: list[tuple[int, TP, Event]] = []
        self._headless: set[TP] = set()

    def begin(self, tps: Iterable[TP]) -> None:
        """These partitions and no others; what waited belongs to nobody."""
        self._batches = {tp: deque() for tp in tps}
        self._heads, self._headless = [], set(self._batches)

    def add(self, tp: TP, count: int, events: Iterator[Event]) -> None:
        """`count` more records of a partition, to be decoded when their turn comes."""
        self._batches[tp].append((count, events))

    def take(self) -> Event | None:
        """The next event, if it is known which one is."""
        for tp in [tp for tp in self._headless if self._batches[tp]]:
            self._advance(tp)
        if not self._heads or any(map(self._waiting, self._headless)):
            return None
        _, tp, event = heapq.heappop(self._heads)
        self._headless.add(tp)
        self._advance(tp)
        return event

    def _advance(self, tp: TP) -> None:
        """Decode the next event of a partition, if there is one."""
        batches = self._batches[tp]
        while batches:
            event = next(batches[0][1], None)
            if event is not None:
                heapq.heappush(self._heads, (event.time_ms, tp, event))
                self._headless.discard(tp)
                return
            batches.popleft()

    def full(self, tp: TP) -> bool:
        """Whether enough of the partition is here. Any thread may ask."""
        return sum(count for count, _ in list(self._batches.get(tp, ()))) >= ENOUGH

    def reached(self, positions: dict[TP, int]) -> dict[TP, int]:
        """The offsets up to which all is taken, of partitions that were added to before `positions`.

        A partition without a head has nothing left here."""
        return positions | {tp: event.offset for _, tp, event in self._heads}

    def __len__(self) -> int:
        """Partitions that have something here."""
        return len(self._heads) + sum(1 for tp in self._headless if self._batches[tp])
