"""The examples a learner stores: those known early, until they are due, and the latest ones, for a refit.

A proof makes an example known before its deadline; an example without a proof is known at its deadline. If examples
were learned as they become known, the newest would all have a proof, and a refit would learn to tell new from old. So
each waits until it is due, and they are learned in the order of their deadlines. Each waits a hundredth of its horizon
longer: a deadline without a proof is known only once a watermark has passed it, when proofs of the same hour are known
already.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.example import Example

HELD: Final = 100_000  # about 400 bytes each
KEPT: Final = 150_000  # 4 bytes a feature and 36 each
_SETTLES: Final = 100  # an example settles a 100th of its horizon after its deadline
_NEVER: Final = np.iinfo(np.int64).max


class Item(NamedTuple):
    """A known example. Items are ordered by their deadline, then by the hash of the id, then by their place.

    `due`, `opened`: ms since the epoch; `decided`: the score at the decision, NaN if there was none; x: float32[F].
    """

    due: int
    key: int
    partition: int
    offset: int
    label: float
    opened: int
    decided: float
    x: NDArray[np.float32]

    @classmethod
    def of(cls, example: Example, partition: int, offset: int) -> Item:
        x = np.array(example.features, np.float32)
        key = int.from_bytes(blake2b(example.id.encode(), digest_size=6).digest())
        return cls(example.due, key, partition, offset, example.label, example.opened, example.score, x)


class Waiting:
    """Examples that are known but not settled. `clock`: the latest time seen, ms since the epoch.

    When more than HELD would wait, half of all examples are left out, by the hash of their ids, and again if need be:
    those learned stay an unbiased sample. `halvings`: how often that happened.
    """

    def __init__(self, most: int = HELD) -> None:
        self.clock = 0
        self.halvings = 0
        self.left_out = 0
        self._most = most
        self._heap: list[tuple[int, Item]] = []  # by the time at which they settle

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, item: Item, now: int) -> None:
        """Add an example that became known at `now`."""
        self.clock = max(self.clock, now)
        if not self.chosen(item.key):
            self.left_out += 1
            return
        heapq.heappush(self._heap, (_settled_at(item), item))
        while len(self._heap) > self._most:
            self.halvings += 1
            kept = [entry for entry in self._heap if self.chosen(entry[1].key)]
            self.left_out += len(self._heap) - len(kept)
            heapq.heapify(kept)
            self._heap = kept

    def chosen(self, key: int) -> bool:
        """Return whether an example is in the sample."""
        return key & ((1 << self.halvings) - 1) == 0

    def settled(self, item: Item) -> bool:
        """Return whether, by the clock, all examples that were due with it are known."""
        return _settled_at(item) <= self.clock

    def due(self) -> Iterator[Item]:
        """Take out the settled examples, in the order in which they settle."""
        while self._heap and self._heap[0][0] <= self.clock:
            yield heapq.heappop(self._heap)[1]

    def items(self) -> list[Item]:
        """Return all that wait, in no order."""
        return [item for _, item in self._heap]


def _settled_at(item: Item) -> int:
    return item.due + (item.due - item.opened) // _SETTLES


class Replay:
    """The learned examples with the latest deadlines, as arrays for a refit.

    It holds those after `cut`, so its contents depend on the examples, not on the order in which they came.
    """

    def __init__(self, features: int, most: int = KEPT) -> None:
        self._most, room = most, most + most // 8
        self._x = np.empty((room, features), np.float32)
        self._labels = np.empty(room, np.float32)
        self._keys = np.empty((room, 2), np.int64)  # due, hash of the id
        self._places = np.empty((room, 2), np.int64)  # partition, offset
        self._count = 0
        self.cut = (-1, -1)

    def __len__(self) -> int:
        return self._count

    def add(self, item: Item) -> None:
        """Add a learned example, unless it is not after `cut`."""
        if (item.due, item.key) <= self.cut:
            return
        if self._count == len(self._x):
            self.shrink(self._most)
        at = self._count
        self._x[at], self._labels[at] = item.x, item.label
        self._keys[at], self._places[at] = item[:2], item[2:4]
        self._count += 1

    def shrink(self, most: int) -> None:
        """Drop all but the `most` latest."""
        order = self._order()
        if len(order) > most:
            due, key = self._keys[order[-most - 1]].tolist()
            self.cut = (due, key)
            self._keep(order[-most:])

    def choose(self, waiting: Waiting) -> None:
        """Drop the examples that are no longer in the sample."""
        keys = self._keys[: self._count, 1]
        self._keep(np.flatnonzero(keys & ((1 << waiting.halvings) - 1) == 0))

    def sample(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return float32[n, F] and float32[n]: features and labels in the order of the deadlines."""
        order = self._order()
        return self._x[order], self._labels[order]

    def earliest(self, waiting: Waiting) -> dict[int, int]:
        """Return partition -> the first offset to read again for all stored examples, here and in `waiting`."""
        held = np.array([item[2:4] for item in waiting.items()], np.int64).reshape(-1, 2)
        both = np.concatenate([self._places[: self._count], held])
        first = np.full(int(both[:, 0].max(initial=-1)) + 1, _NEVER)
        np.minimum.at(first, both[:, 0], both[:, 1])  # snapshots call this each second, so nothing is sorted
        return {partition: offset for partition, offset in enumerate(first.tolist()) if offset != _NEVER}

    def _order(self) -> NDArray[np.int64]:
        keys = self._keys[: self._count]
        return np.lexsort((keys[:, 1], keys[:, 0]))

    def _keep(self, places: NDArray[np.int64]) -> None:
        self._count = len(places)
        for array in (self._x, self._labels, self._keys, self._places):
            array[: self._count] = array[places]
