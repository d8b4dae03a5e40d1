"""Step 4: merges the topics of one partition number by event time, independent of how batches split them."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.batches import Columns
from streams.kernels import grown, kernel


@kernel
def merge(
    times: Any, following: Any, heads: Any, waiting: Any, order: Any, offsets: Any, limits: Any
) -> int:  # fmt: skip
    """Take decoded events in order of (time, topic) until the merge must wait for a topic.

    `times: float64[c]` and `following: int64[c]` (the row after this one in its topic, -1 = none) are
    the inbox; `heads: int64[topics]` are the first row of each topic (-1 = none) and advance here.
    `waiting: bool[topics]`: the topic has records that are not decoded yet; while it has no head, the merge cannot
    know whether another topic's head is next. It takes only events whose offset (`offsets: int64[c]`) is below their
    topic's `limits: int64[topics]`. It writes rows into `order: int64[c]` and returns how many.
    """
    topics = len(heads)
    taken = 0
    if topics == 1:
        row = heads[0]
        while row >= 0 and offsets[row] < limits[0]:
            order[taken] = row
            taken += 1
            row = following[row]
        heads[0] = row
        return taken
    while taken < len(order):
        best = -1
        earliest = np.inf
        for t in range(topics):
            row = heads[t]
            if row < 0:
                if waiting[t]:
                    return taken
            elif offsets[row] < limits[t] and times[row] < earliest:
                earliest = times[row]
                best = t
        if best < 0:
            return taken
        order[taken] = heads[best]
        taken += 1
        heads[best] = following[heads[best]]
    return taken


@kernel
def link(status: Any, start: int, count: int, following: Any, tail: int) -> Any:
    """Chain the good rows `start..start+count-1` behind `tail` (-1 = none). Returns (first, last, good)."""
    first: Any = np.int64(-1)
    good = 0
    for row in range(start, start + count):
        if status[row] != 0:
            continue
        following[row] = -1
        if tail >= 0:
            following[tail] = row
        if first < 0:
            first = row
        tail = row
        good += 1
    return first, tail, good


@kernel
def pending_rows(heads: Any, following: Any, rows: Any, starts: Any) -> int:
    """List the rows that no pass has taken, topic by topic, in `rows: int64[c]`. Returns how many.

    The rows of topic t are `rows[starts[t] : starts[t + 1]]` (`starts: int64[topics + 1]`).
    """
    count = 0
    for t in range(len(heads)):
        starts[t] = count
        row = heads[t]
        while row >= 0:
            rows[count] = row
            count += 1
            row = following[row]
    starts[len(heads)] = count
    return count


NO_LIMIT = np.iinfo(np.int64).max
CAPACITY = 1 << 18  # rows; the system gives memory only for those that are touched
SPARSE = 4  # rows used for each pending one: to move those few costs less than to go on into cold memory


class Inbox:
    """Holds the decoded events of one partition number, of all topics, until the pass takes them.

    Columns (struct of arrays, one row an event): `times: float64` ms, `kinds: int32`, `topics: int32`,
    `offsets: int64`, `message_ids: int64`, `slots: int64`, `fields: float64[., f]`, `status: uint8`.
    """

    def __init__(self, topics: int, fields: int, capacity: int = CAPACITY) -> None:
        self.topic_count = topics
        self.used = 0
        self.heads = np.full(topics, -1, np.int64)
        self.tails = np.full(topics, -1, np.int64)
        self.waiting = np.zeros(topics, np.bool_)
        self.pending = np.zeros(topics, np.int64)
        self.limits = np.full(topics, NO_LIMIT)
        self.times = np.empty(capacity)
        self.kinds = np.empty(capacity, np.int32)
        self.topics = np.empty(capacity, np.int32)
        self.offsets = np.empty(capacity, np.int64)
        self.message_ids = np.empty(capacity, np.int64)
        self.slots = np.empty(capacity, np.int64)
        self.fields = np.empty((capacity, fields))
        self.status = np.empty(capacity, np.uint8)
        self.following = np.empty(capacity, np.int64)
        self.order = np.empty(capacity, np.int64)

    _COLUMNS = (
        "times", "kinds", "topics", "offsets", "message_ids", "slots", "fields", "status", "following", "order",
    )  # fmt: skip

    def reserve(self, count: int) -> int:
        """Make room for `count` rows and return the first one; `accept` then enters them."""
        pending = int(self.pending.sum())
        if not pending:
            self.used = 0
        elif self.used >= SPARSE * pending or self.used + count > len(self.times):
            self._compact()
        if self.used + count > len(self.times):
            self._grow(2 * (self.used + count))
        return self.used

    def _grow(self, rows: int) -> None:
        size = len(self.times)
        while size < rows:
            size *= 2
        for name in self._COLUMNS:
            setattr(self, name, grown(getattr(self, name), size))

    def accept(self, topic: int, start: int, columns: Columns) -> int:
        """Enter the records as rows `start..`, which have their slots already, behind those of `topic`.

        It leaves out rows with a status. Returns how many are good.
        """
        count = columns.count
        stop = start + count
        self.topics[start:stop] = topic
        for name in ("times", "kinds", "offsets", "message_ids", "fields", "status"):
            getattr(self, name)[start:stop] = getattr(columns, name)[:count]
        tail = self.tails[topic] if self.heads[topic] >= 0 else -1
        first, last, good = link(self.status, start, count, self.following, tail)
        if good:
            if self.heads[topic] < 0:
                self.heads[topic] = first
            self.tails[topic] = last
            self.pending[topic] += good
        self.used = stop
        return int(good)

    def take(self) -> int:
        """Merge the events that may be merged now; `order[:n]` holds their rows until the next `reserve`. Returns n."""
        taken = merge(
            self.times, self.following, self.heads, self.waiting, self.order, self.offsets, self.limits
        )
        if taken:
            self.pending -= np.bincount(self.topics[self.order[:taken]], minlength=self.topic_count)
        return int(taken)

    def first_pending(self, topic: int) -> int | None:
        """Return the offset of the oldest event of `topic` that no pass has taken; None when there is none."""
        head = int(self.heads[topic])
        return int(self.offsets[head]) if head >= 0 else None

    def pending_slots(self) -> Any:
        """Return the slots of the events that no pass has taken (int64[n])."""
        starts = np.zeros(self.topic_count + 1, np.int64)
        return self.slots[self.order[: pending_rows(self.heads, self.following, self.order, starts)]]

    def _compact(self) -> None:
        """Move the pending rows to the front, keeping each topic's order."""
        starts = np.zeros(self.topic_count + 1, np.int64)
        rows = self.order[: pending_rows(self.heads, self.following, self.order, starts)]
        for name in ("times", "kinds", "topics", "offsets", "message_ids", "slots", "fields", "status"):
            column = getattr(self, name)
            column[: len(rows)] = column[rows]
        self.following[: len(rows)] = np.arange(1, len(rows) + 1)
        filled = starts[1:] > starts[:-1]
        self.heads[:] = np.where(filled, starts[:-1], -1)
        self.tails[:] = np.where(filled, starts[1:] - 1, -1)
        self.following[self.tails[filled]] = -1
        self.used = len(rows)
