"""Rows come back from the changelog: batches of packed rows, layouts and control rows, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from .batch import RawBatch
from .cycle import CONTROL_KEY, LAYOUT_KEY, read_control
from .errors import Fatal
from .partition import Partition
from .records import find_records


class Mover(Protocol):
    """Turns rows of an older layout into rows of the current one."""

    old_words: int

    def apply(self, rows: Any) -> Any:
        """float64[n, old words] -> float64[n, words]."""


class Positions(NamedTuple):
    """Where the records of a batch stand (int64[n] each): see `streams.records.find_records`."""

    offsets: Any
    key_at: Any
    key_size: Any
    value_at: Any
    value_size: Any


class Restorer:
    """Applies changelog batches of one partition to its rows; remembers its newest control row."""

    def __init__(self, layout_id: int, words: int, migration: Callable[[bytes], Mover]) -> None:
        self._layout_id, self._words, self._migration = layout_id, words, migration
        self._movers: dict[int, Mover] = {}
        self.control: dict[str, Any] = {}
        self.rows = 0
        self.offset = -1  # of the newest record applied

    def apply(self, partition: Partition, batch: RawBatch) -> None:
        """Apply one batch, in offset order."""
        self.offset = max(self.offset, batch.offset)
        if batch.count == 0:
            return
        at = Positions(*np.empty((5, batch.count), np.int64))
        found = find_records(batch.buf, batch.count, batch.base_offset, batch.first, *at)
        if found < 0:
            raise Fatal(f"changelog partition {partition.number} at offset {batch.base_offset} is damaged; "
                        "restore it from a backup, or delete the topic to start anew")  # fmt: skip
        sizes = at.value_size[:found]
        own = (sizes == 8 * (1 + self._words)) & (at.key_size[:found] > 0)
        own &= batch.buf[np.minimum(at.key_at[:found], len(batch.buf) - 1)] != 0
        ids = _words_at(batch.buf, at.value_at[:found], own, 1).view(np.int64)[:, 0]
        plain = np.flatnonzero(own)[ids == self._layout_id]
        if len(plain) == found:
            self._put(partition, batch, at, plain)
        else:
            self._put_mixed(partition, batch, at, found, set(plain.tolist()))

    def _put(self, partition: Partition, batch: RawBatch, at: Positions, which: Any) -> None:
        """The usual case: every record is a row of the current layout."""
        slots = np.empty(len(which), np.int64)
        good = np.zeros(len(which), np.uint8)
        partition.index.slots(batch.buf, at.key_at[which], at.key_size[which], good, len(which), slots)
        partition.make_room()
        rows = _words_at(batch.buf, at.value_at[which] + 8, np.ones(len(which), np.bool_), self._words)
        partition.rows[slots] = rows  # of a key that stands here twice, NumPy keeps the last
        self.rows += len(which)

    def _put_mixed(
        self, partition: Partition, batch: RawBatch, at: Positions, found: int, plain: set[int]
    ) -> None:
        for i in range(found):
            key = batch.buf[at.key_at[i] : at.key_at[i] + max(0, at.key_size[i])].tobytes()
            size = int(at.value_size[i])
            if i in plain:
                self._put(partition, batch, at, np.array([i]))
            elif size < 0:
                partition.forget(key)
            else:
                start = int(at.value_at[i])
                self._other(partition, key, batch.buf[start : start + size].tobytes())

    def _other(self, partition: Partition, key: bytes, value: bytes) -> None:
        if key == CONTROL_KEY:
            self.control = read_control(value)
        elif key.startswith(LAYOUT_KEY):
            layout_id = int(key[len(LAYOUT_KEY) :])
            partition.known_layouts.add(layout_id)
            if layout_id != self._layout_id:
                self._movers[layout_id] = self._migration(value)
        else:
            layout_id = int(np.frombuffer(value[:8], np.int64)[0]) if len(value) >= 8 else -1
            mover = self._movers.get(layout_id)
            if mover is None or len(value) != 8 * (1 + mover.old_words):
                raise Fatal(f"changelog partition {partition.number} holds a row of layout {layout_id}, which it does "
                            "not describe; restore it from a backup, or delete the topic to start anew")  # fmt: skip
            rows = mover.apply(np.frombuffer(value[8:]).reshape(1, -1))
            partition.restore([key], rows)
            self.rows += 1


def _words_at(buf: Any, starts: Any, chosen: Any, words: int) -> Any:
    """The `words` 8-byte words at `starts[chosen]` of `buf`, as float64[n, words]."""
    at = starts[chosen]
    if not len(at):
        return np.empty((0, words))
    window = np.lib.stride_tricks.sliding_window_view(buf, 8 * words)
    return np.ascontiguousarray(window[at]).view(np.float64)
