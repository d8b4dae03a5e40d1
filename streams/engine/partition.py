"""One partition number of all source topics: its inbox, rows, deadlines and progress."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from streams.avro import AvroProgram
from streams.batches import Columns, RawBatch, decode_columns
from streams.kernels import grown, inner
from streams.state import (
    BATCH_BYTES,
    KeyIndex,
    RowBatch,
    Rows,
    Store,
    keep_row,
    rebuild,
    stale,
    write_records,
)

from .inbox import NO_LIMIT, Inbox

# bits of `dirty`
CHANGELOG, VIEWS = 1, 2  # the changelog or the views do not have the changed row yet
AWAITED = 8  # an event of the row waits to be folded
TAKEN = 4  # a commit cycle will write the row as it is now, but has not packed it yet
PLACES = 4096  # default number of rows that stand whole
LOOKED_AT = 20_000  # slots that one sweep for expired keys looks at: about 2 ms
GONE = 50_000  # forgotten keys that may wait for the views' store


@inner
def keep_taken(dirty: Any, store: Store, slot: int, row: int) -> None:
    """Keep a row, before it changes, for the commit cycle that has taken it but not packed it yet."""
    keep_row(store, slot, row)
    dirty[slot] &= np.uint8(255 ^ TAKEN)


class Cutover(NamedTuple):
    """The offsets at which other data (models, policies) comes into force for the pass.

    It comes into force once all events before these offsets are folded; later events wait for it. `settled`: the
    changelog holds the cutover, so a replay makes it at the same offsets.
    """

    offsets: Any  # int64[topics]
    following: dict[str, Any]
    settled: bool = True


class DeadRecord(Protocol):
    """Takes each record that cannot be processed (offset, reason, key, value, append time in ms)."""

    def __call__(
        self, topic: int, partition: int, offset: int, reason: int | str, key: bytes | None, value: bytes | None,
        time_ms: int,
    ) -> None: ...  # fmt: skip


class Partition:
    """Rows and progress of one partition number.

    `rows` by slot (`streams.state.rows`), `dirty: uint8[c]` (CHANGELOG | VIEWS | TAKEN | AWAITED), `changed: int64[c]`
    the slots for the changelog, `wake` and the heap as in `streams.state.deadline_heap`. `state` belongs to the pass
    (such as the model snapshots in force).
    """

    def __init__(
        self, number: int, topics: int, fields: int, default_row: Any, deadline_words: Any, places: int = PLACES,
        rows_bytes: int = 0,
    ) -> None:  # fmt: skip
        """`places`, `rows_bytes`: see `streams.state.rows.Rows`."""
        self.number = number
        self.index = KeyIndex()
        self.inbox = Inbox(topics, fields)
        self.deadline_words = deadline_words
        self.rows = Rows(default_row, places, rows_bytes)
        self.dirty = np.zeros(1024, np.uint8)
        self.changed = np.zeros(1024, np.int64)
        self.seen = np.zeros(2048, np.int64)  # taken from `_seen_from` on
        self._seen_from = 0
        # slots in `changed`, slots in `seen` (views), entries in the heap
        self.counts = np.zeros(3, np.int64)
        self.wake = np.zeros(1024)
        self.heap_times = np.zeros(4096)
        self.heap_slots = np.zeros(4096, np.int64)
        self.clocks = np.full(2, -np.inf)  # the watermark and the highest event time, in ms
        self.live = False  # live: rows are restored, events are folded, its changelog is no longer applied
        self.known_layouts: set[int] = set()
        self.positions = np.full(topics, -1, np.int64)  # the next offset to arrive, -1 = not known yet
        self.ends = np.full(topics, -1, np.int64)
        # events before these offsets were folded before and may be folded again (replay)
        self.frontier = np.full(topics, -1, np.int64)
        self.append_time_ms = -1
        self.state: Any = None
        self.control: dict[str, Any] = {}  # the newest control row
        self.cutover: Cutover | None = None  # the next one
        self.gone: list[bytes] = []  # forgotten keys whose views are not removed yet
        self._hand = 0

    # -- events ------------------------------------------------------------------------------------------

    def receive(self, topic: int, batch: RawBatch, program: AvroProgram, dead: DeadRecord) -> int:
        """Put the records of one raw batch of source `topic` into the inbox. Returns how many events are good."""
        self.positions[topic] = batch.next_offset
        if batch.error:
            dead(topic, self.number, batch.base_offset, batch.error, None, None, batch.append_time_ms)
        if batch.count == 0:
            return 0
        self.append_time_ms = batch.append_time_ms
        columns = batch.columns or decode_columns(batch, program)
        count = columns.count
        if count < 0:
            dead(topic, self.number, batch.base_offset, "the records of the batch overlap or end early", None,
                 batch.buf.tobytes(), batch.append_time_ms)  # fmt: skip
            return 0
        if columns.bad:
            self._bury(topic, batch, columns, dead)
        inbox = self.inbox
        start = inbox.reserve(count)
        slots = inbox.slots[start : start + count]
        self.index.slots(batch.buf, columns.key_at, columns.key_size, columns.status, count, slots)
        self._know()
        return inbox.accept(topic, start, columns)

    def _bury(self, topic: int, batch: RawBatch, columns: Columns, dead: DeadRecord) -> None:
        for i in np.flatnonzero(columns.status[: columns.count]).tolist():
            parts: list[bytes | None] = []
            for at, size in ((columns.key_at, columns.key_size), (columns.value_at, columns.value_size)):
                parts.append(batch.buf[at[i] : at[i] + size[i]].tobytes() if size[i] >= 0 else None)
            reason = int(columns.status[i])
            dead(
                topic, self.number, int(columns.offsets[i]), reason, parts[0], parts[1], batch.append_time_ms
            )

    def take(self) -> int:
        """Merge the events that may be merged now into `inbox.order[:n]`; returns n."""
        inbox = self.inbox
        inbox.limits[:] = NO_LIMIT if self.cutover is None else self.cutover.offsets
        np.less(self.positions, np.minimum(self.ends, inbox.limits), out=inbox.waiting)
        return inbox.take()

    @property
    def at_cutover(self) -> bool:
        """Whether all events before a settled cutover are folded."""
        turn = self.cutover
        return turn is not None and turn.settled and bool((self.folded >= turn.offsets).all())

    @property
    def folded(self) -> Any:
        """The first offset of each topic that no pass has folded (int64[topics], see `committable`)."""
        return np.array([self.committable(topic) for topic in range(len(self.positions))], np.int64)

    def reset_inbox(self) -> None:
        """Drop decoded events that are not folded, and all positions, which then have to be asked for again."""
        self.frontier = np.maximum(self.frontier, self.folded)
        self.inbox = Inbox(self.inbox.topic_count, self.inbox.fields.shape[1])
        self.positions[:] = -1
        self.ends[:] = -1

    def committable(self, topic: int) -> int:
        """Return the first offset of `topic` that no pass has folded: the offset to commit (-1: nothing yet)."""
        pending = self.inbox.first_pending(topic)
        return int(self.positions[topic]) if pending is None else pending

    # -- rows --------------------------------------------------------------------------------------------

    def make_room(self) -> None:
        """Make room for a row of every known key, for rows to unpack, and for one heap entry an event."""
        self._know()
        self.rows.make_room()
        needed = int(self.counts[2]) + len(self.inbox.order) + 64
        if needed > len(self.heap_times):
            size = max(needed, 2 * len(self.heap_times))
            self.heap_times, self.heap_slots = grown(self.heap_times, size), grown(self.heap_slots, size)

    def _know(self) -> None:
        """Make room for a row of every known key."""
        known = self.index.known
        if known > len(self.dirty):
            size = 2 * len(self.dirty)
            while size < known:
                size *= 2
            self.rows.grow(size)
            for name in ("dirty", "changed", "wake"):
                setattr(self, name, grown(getattr(self, name), size))
            self.seen = grown(self.seen, 2 * size)

    def forget(self, key: bytes) -> None:
        """Apply a tombstone: remove the key and its row."""
        slot = self.index.find(key)
        if slot is not None:
            self.rows.forget(slot)
            self.index.remove(slot)

    def expire(self, after_ms: float) -> list[bytes]:
        """Forget keys without events for `after_ms` of event time; returns them, for tombstones.

        It forgets only rows with `dirty` 0: all their events are committed, so a replay never folds an old event into
        a new row. Each call looks at `LOOKED_AT` slots.
        """
        before_ms = float(self.clocks[0]) - after_ms
        if not before_ms > 0 or len(self.gone) >= GONE:
            return []
        found = np.empty(LOOKED_AT, np.int64)
        awaited = self.inbox.pending_slots()  # a decoded event refers to its slot already
        self.dirty[awaited] |= np.uint8(AWAITED)
        count, self._hand = stale(
            self.rows.store, self.index.arrays, self.dirty, self.wake, before_ms, self._hand, found
        )
        self.dirty[awaited] &= np.uint8(255 ^ AWAITED)
        keys = self.index.keys(found[:count])
        for slot in found[:count].tolist():
            self.rows.forget(slot)
            self.index.remove(slot)
        self.gone += keys
        return keys

    def held_slots(self) -> Any:
        """Return the slots of all keys (int64[n])."""
        return np.flatnonzero(self.index.spans[: self.index.known] >= 0)

    def take_gone(self, limit: int) -> list[bytes]:
        """Take at most `limit` forgotten keys; leaves out those that have come back."""
        keys, self.gone = self.gone[:limit], self.gone[limit:]
        return [key for key in keys if self.index.find(key) is None]

    @property
    def caught_up(self) -> bool:
        """Whether the replay is over: no event from here on can have been folded before, here or by another worker."""
        return bool((self.folded >= self.frontier).all())

    def activate(self, *, taken_over: bool = False) -> None:
        """Rebuild the deadlines of the restored rows and start folding. `taken_over`: other workers folded before."""
        if taken_over:
            self.frontier[:] = self.ends
        self.make_room()
        if len(self.heap_times) < self.index.known + 64:
            self.heap_times = np.zeros(2 * self.index.known + 64)
            self.heap_slots = np.zeros(2 * self.index.known + 64, np.int64)
        self.counts[2] = rebuild(
            self.rows.store, self.index.arrays, self.deadline_words, self.heap_times, self.heap_slots, self.wake,
            np.empty((1, self.rows.words)),
        )  # fmt: skip
        known = self.index.known
        self.dirty[:known] = VIEWS  # write all views again: a crash may have lost some
        self.seen[:known] = np.arange(known)
        self.counts[:2] = 0, known
        self._seen_from = 0
        self.live = True

    def take_changed(self) -> Any:
        """Take the slots that changed since the last call (int64[n]); a later change enters its slot again.

        A row that changes before it is packed is kept as it is now (`keep_taken`).
        """
        slots = self.changed[: self.counts[0]].copy()
        self.counts[0] = 0
        self.dirty[slots] = self.dirty[slots] & np.uint8(255 ^ CHANGELOG) | np.uint8(TAKEN)
        return slots

    def records(self, slots: Any, layout_id: int) -> RowBatch:
        """Pack the first rows of `take_changed`'s slots as they were then, as many as one record batch holds."""
        out = np.empty(BATCH_BYTES, np.uint8)
        count, used = write_records(
            self.rows.store, self.index.spans, self.index.arena, slots, layout_id, out
        )  # fmt: skip
        self.dirty[slots[:count]] &= np.uint8(255 ^ TAKEN)
        return RowBatch(out[:used].tobytes(), int(count))

    @property
    def unseen(self) -> int:
        """How many rows with changed views wait to be taken."""
        return int(self.counts[1]) - self._seen_from

    def take_seen(self, limit: int) -> Any:
        """Take at most `limit` slots whose views changed since they were last taken, in order of change (int64[n])."""
        start, stop = self._seen_from, int(self.counts[1])
        slots = self.seen[start : min(stop, start + limit)].copy()
        self._seen_from = start + len(slots)
        if self._seen_from >= len(self.seen) // 2:  # a slot waits at most once: half is room for all
            left = self.seen[self._seen_from : stop].copy()
            self.seen[: len(left)] = left
            self._seen_from, self.counts[1] = 0, len(left)
        self.dirty[slots] &= np.uint8(255 ^ VIEWS)
        return slots

    def give_back(self, slots: Any) -> None:
        """Mark these slots as changed again, as their views could not be written."""
        again = slots[self.dirty[slots] & VIEWS == 0]
        count = int(self.counts[1])
        self.seen[count : count + len(again)] = again
        self.counts[1] = count + len(again)
        self.dirty[again] |= VIEWS
