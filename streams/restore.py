"""Rows come back from the changelog: batches of packed rows, layouts and control rows, as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from .batch import RawBatch
from .cycle import CONTROL_KEY, LAYOUT_KEY, read_control
from .errors import Fatal
from .packing import unpack_values
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

    def __init__(self, layout_id: int, migration: Callable[[bytes], Mover]) -> None:
        self._layout_id, self._migration = layout_id, migration
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
        own = (at.value_size[:found] >= 8) & (at.key_size[:found] > 0)
        own &= batch.buf[np.minimum(at.key_at[:found], len(batch.buf) - 1)] != 0
        ids = _longs_at(batch.buf, at.value_at[:found][own])
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
        if partition.rows.put(batch.buf, at.value_at[which], at.value_size[which], slots) >= 0:
            raise _not_whole(partition)
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
            if mover is None:
                raise Fatal(f"changelog partition {partition.number} holds a row of layout {layout_id}, which it does "
                            "not describe; restore it from a backup, or delete the topic to start anew")  # fmt: skip
            old = np.empty((1, mover.old_words))
            buf, at, size = np.frombuffer(value, np.uint8), np.array([0]), np.array([len(value)])
            if unpack_values(buf, at, size, old.view(np.int64)) >= 0:
                raise _not_whole(partition)
            slot = partition.index.slot_of(key)
            partition.make_room()
            partition.rows.put_whole(np.array([slot]), mover.apply(old))
            self.rows += 1


def _not_whole(partition: Partition) -> Fatal:
    return Fatal(
        f"changelog partition {partition.number} holds a row that is not whole; "
        "restore it from a backup, or delete the topic to start anew"
    )


def _longs_at(buf: Any, at: Any) -> Any:
    """The 8-byte integers at `buf[at]` (int64[n])."""
    if not len(at):
        return np.empty(0, np.int64)
    window = np.lib.stride_tricks.sliding_window_view(buf, 8)
    return np.ascontiguousarray(window[at]).view(np.int64)[:, 0]
