"""Restores rows from the changelog: applies batches of packed rows, layouts and control rows as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from streams.batches import RawBatch, find_records
from streams.engine import Partition
from streams.errors import Fatal
from streams.state import runs

from .control_row import CONTROL_KEY, LAYOUT_KEY, read_control

NO_ROW = -1  # stands in place of a layout's id


class Mover(Protocol):
    """Turns rows of an older layout into rows of the current one."""

    def put(self, buf: Any, at: Any, size: Any, slots: Any, bits: Any) -> int:
        """Unpack rows into `bits[slots]`: see `streams.state.migration.move_rows`."""


class Positions(NamedTuple):
    """Where the records of a batch stand (int64[n] each): see `streams.batches.records.find_records`."""

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
        row = (at.value_size[:found] >= 8) & (at.key_size[:found] > 0)
        row &= batch.buf[np.minimum(at.key_at[:found], len(batch.buf) - 1)] != 0
        ids = np.full(found, NO_ROW, np.int64)
        ids[row] = _longs_at(batch.buf, at.value_at[:found][row])
        for start, stop in runs(ids):
            if ids[start] == NO_ROW:
                for i in range(start, stop):
                    self._other(partition, batch, at, i)
            else:
                self._put(partition, batch, at, slice(start, stop), int(ids[start]))

    def _put(
        self, partition: Partition, batch: RawBatch, at: Positions, which: slice, layout_id: int
    ) -> None:
        """Apply the rows of one layout, as arrays."""
        buf, value_at, value_size = batch.buf, at.value_at[which], at.value_size[which]
        count = len(value_at)
        slots = np.empty(count, np.int64)
        good = np.zeros(count, np.uint8)
        partition.index.slots(buf, at.key_at[which], at.key_size[which], good, count, slots)
        partition.make_room()
        if layout_id == self._layout_id:
            bad = partition.rows.put(buf, value_at, value_size, slots)
        else:
            mover = self._mover(partition, layout_id)
            moved = np.empty((count, partition.rows.words))
            bad = mover.put(buf, value_at, value_size, np.arange(count), moved.view(np.int64))
            if bad < 0:
                partition.rows.put_whole(slots, moved)
        if bad >= 0:
            raise _not_whole(partition)
        self.rows += count

    def _mover(self, partition: Partition, layout_id: int) -> Mover:
        mover = self._movers.get(layout_id)
        if mover is None:
            raise Fatal(f"changelog partition {partition.number} holds a row of layout {layout_id}, which it does "
                        "not describe; restore it from a backup, or delete the topic to start anew")  # fmt: skip
        return mover

    def _other(self, partition: Partition, batch: RawBatch, at: Positions, i: int) -> None:
        """Apply a record that is no row: a control row, a layout or a tombstone."""
        key = batch.buf[at.key_at[i] : at.key_at[i] + max(0, at.key_size[i])].tobytes()
        size = int(at.value_size[i])
        value = batch.buf[at.value_at[i] : at.value_at[i] + max(0, size)].tobytes()
        if size < 0:
            partition.forget(key)
        elif key == CONTROL_KEY:
            self.control = read_control(value)
        elif key.startswith(LAYOUT_KEY):
            layout_id = int(key[len(LAYOUT_KEY) :])
            partition.known_layouts.add(layout_id)
            if layout_id != self._layout_id:
                self._movers[layout_id] = self._migration(value)
        else:
            self._mover(partition, NO_ROW)


def _not_whole(partition: Partition) -> Fatal:
    return Fatal(
        f"changelog partition {partition.number} holds a row that is not whole; "
        "restore it from a backup, or delete the topic to start anew"
    )


def _longs_at(buf: Any, at: Any) -> Any:
    """Return the 8-byte integers at `buf[at]` (int64[n])."""
    if not len(at):
        return np.empty(0, np.int64)
    window = np.lib.stride_tricks.sliding_window_view(buf, 8)
    return np.ascontiguousarray(window[at]).view(np.int64)[:, 0]
