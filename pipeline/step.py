"""Steps 5 to 7 and 10 for one partition: the loop over merged events, compiled. docs/steps/05-fold.md is its text.

Numbers are made int64 where they are read (`np.int64(...)`), constants too: a function that one caller hands an int32
or a constant, and another an int64, would be compiled for each of them, with all that it calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from customers.row import decay, fold
from models.scoring import Weights
from streams.engine import CHANGELOG, TAKEN, VIEWS, keep_taken
from streams.kernels import inlined, inner, kernel, prefetch
from streams.state import NEXT, SOON, ask_row, earliest, has_room, place_of, pop, push

from .arrays import InboxArrays, OutboxArrays, PartitionArrays, Scratch
from .emit import room_left
from .labels import close_example, is_same, may_open, open_example
from .plan import (
    ON_PROOF,
    SUM_FIELD,
    SUM_WORD,
    WORD,
    PassPlan,
)
from .rules import judge

DUPLICATES, SKIPPED, LATE, FIRED = range(4)  # counters


@inlined
def _mark(table: PartitionArrays, slot: int, row: int) -> None:
    """Mark a row that is about to change, for the changelog (1) and for the views (2)."""
    flags = table.dirty[slot]
    if flags == CHANGELOG | VIEWS:
        return
    if flags & TAKEN:
        keep_taken(table.dirty, table.store, slot, row)
    if flags & CHANGELOG == 0:
        table.changed[table.counts[0]] = slot
        table.counts[0] += 1
    if flags & VIEWS == 0:
        table.seen[table.counts[1]] = slot
        table.counts[1] += 1
    table.dirty[slot] = CHANGELOG | VIEWS


@inner
def _schedule(table: PartitionArrays, plan: PassPlan, slot: int, row: int) -> None:
    """Push the row's earliest deadline on the heap, if it is earlier than its entry there."""
    due, which = earliest(table.rows, row, plan.deadline_words)
    if which >= 0 and (table.wake[slot] == 0.0 or due < table.wake[slot]):
        table.counts[2] = push(
            table.heap_times, table.heap_slots, table.counts[2], table.hashes, table.wake, due, slot
        )


@inner
def _fire(table: PartitionArrays, plan: PassPlan, weights: Weights, out: OutboxArrays, room: Scratch) -> bool:
    """Fire every deadline that is due, in order. Returns False, to be called again, if the outbox or the row store is
    full."""
    policies = len(plan.rules.topic)
    none, first_row = np.int64(-1), np.int64(0)
    while table.counts[2] > 0 and table.heap_times[0] <= table.clocks[0]:
        woken = table.heap_times[0]
        slot = table.heap_slots[0]
        if table.wake[slot] != woken:  # stale
            table.counts[2] = pop(table.heap_times, table.heap_slots, table.counts[2], table.hashes)
            continue
        if not room_left(out, policies + 1) or not has_room(table.store):
            return False
        row = place_of(table.store, slot)
        table.counts[2] = pop(table.heap_times, table.heap_slots, table.counts[2], table.hashes)
        table.wake[slot] = 0.0
        due, which = earliest(table.rows, row, plan.deadline_words)
        if which >= 0 and due <= woken:
            _mark(table, slot, row)
            out.counters[FIRED] += 1
            if which >= plan.deadline_columns:
                model = which - plan.deadline_columns
                close_example(table, plan, out, slot, row, model, 1 - plan.models.about[model, ON_PROOF], due)
            else:
                now = max(table.rows[row, 0], due)
                table.rows[row, plan.deadline_words[which]] = 0.0
                first = plan.rules.deadline_start[which]
                last = plan.rules.deadline_start[which + 1]
                room.ready[:] = 0
                for j in range(first, last):
                    policy = np.int64(plan.rules.deadline_policy[j])
                    judge(
                        table, plan, weights, out, room, slot, row, policy, now, none, none, which, due,
                        room.no_fields, first_row,
                    )  # fmt: skip
        _schedule(table, plan, slot, row)
    return True


@inner
def _start_anew(table: PartitionArrays, plan: PassPlan, row: int) -> None:
    """Reset a row to the default, except its applied offsets."""
    for w in range(table.bits.shape[1]):
        if w < 1 or w > len(plan.topics.ends) - 1:
            table.bits[row, w] = table.store.default[0, w]


@inlined
def _repeated(table: PartitionArrays, plan: PassPlan, row: int, message_id: int) -> bool:
    """Return whether the message id is among the row's latest ones; add it if not."""
    size = plan.ring_size
    if size == 0:
        return False
    at = plan.ring_at
    entered: Any = np.int64(table.rows[row, at])
    for k in range(min(entered, size)):
        if table.bits[row, at + 1 + k] == message_id:
            return True
    table.bits[row, at + 1 + entered % size] = message_id
    table.rows[row, at] = entered + 1.0
    return False


@inlined
def _event(
    events: InboxArrays,
    e: int,
    row: int,
    table: PartitionArrays,
    plan: PassPlan,
    weights: Weights,
    out: OutboxArrays,
    room: Scratch,
) -> None:
    """Process one event, in the order of docs/steps/05-fold.md (from 2 on)."""
    rows = table.rows
    slot = events.slots[e]
    topic = np.int64(events.topics[e])
    offset = events.offsets[e]
    if offset <= table.bits[row, 1 + topic]:
        out.counters[SKIPPED] += 1
        return
    _mark(table, slot, row)
    table.bits[row, 1 + topic] = offset
    if rows[row, 0] > 0.0 and table.clocks[0] - rows[row, 0] > plan.expire_after_ms:
        _start_anew(table, plan, row)
    if _repeated(table, plan, row, events.message_ids[e]):
        out.counters[DUPLICATES] += 1
        return
    time = events.times[e]
    previous = rows[row, 0]
    late = time < previous
    if late:
        out.counters[LATE] += 1
    else:
        if previous > 0.0 and time > previous:
            decay(rows, row, time - previous, plan.fold)
        rows[row, 0] = time
    clock = rows[row, 0]
    kind = np.int64(events.kinds[e])
    models = plan.models
    moved = False
    if kind >= 0:
        for j in range(models.proof_start[kind], models.proof_start[kind + 1]):
            m = models.proof_model[j]
            word = models.about[m, WORD]
            if (
                rows[row, word] > 0.0
                and time > rows[row, word]
                and is_same(rows, row, models, m, events.fields, e)
            ):
                due = rows[row, word + 1]
                if models.about[m, SUM_WORD] > 0:
                    value = events.fields[e, models.about[m, SUM_FIELD]]
                    if time <= due and not np.isnan(value):
                        rows[row, models.about[m, SUM_WORD]] += value
                    continue
                proven = models.about[m, ON_PROOF]
                close_example(
                    table, plan, out, slot, row, m, proven if time <= due else 1 - proven, min(time, due)
                )
                moved = True
        if fold(rows, table.bits, row, kind, time, clock, late, table.clocks[0], events.fields, e, plan.fold):
            moved = True
    if kind < 0:
        return
    room.ready[:] = 0
    for j in range(models.open_start[kind], models.open_start[kind + 1]):
        m = models.open_model[j]
        if (
            not late
            and time + models.within_ms[m] > table.clocks[0]
            and rows[row, models.about[m, WORD]] == 0.0
            and may_open(table, plan, room, row, m, kind, events.fields, e)
        ):
            open_example(table, plan, weights, room, row, m, time, events.fields, e)
            moved = True
    for j in range(plan.rules.kind_start[kind], plan.rules.kind_start[kind + 1]):
        policy = np.int64(plan.rules.kind_policy[j])
        judge(
            table, plan, weights, out, room, slot, row, policy, clock, topic, offset, kind, 0.0, events.fields, e
        )  # fmt: skip
    if moved:
        _schedule(table, plan, slot, row)


@kernel
def run(
    events: InboxArrays,
    first: int,
    count: int,
    table: PartitionArrays,
    plan: PassPlan,
    weights: Weights,
    out: OutboxArrays,
    room: Scratch,
) -> int:
    """Fold events `order[first:count]` and fire the deadlines that become due.

    Returns `count` when all is done, the next event if the outbox or the row store is full, and -1 if only deadlines
    are left (see `streams.engine.engine.Pass.run`).
    """
    records = len(plan.rules.topic) + len(plan.models.within_ms)
    for i in range(first, count):
        if not room_left(out, records):
            return i
        e = events.order[i]
        if i + SOON < count:
            soon = events.slots[events.order[i + SOON]]
            prefetch(table.store.where, soon)
            prefetch(table.dirty, soon)
        if i + NEXT < count:
            ask_row(table.store, events.slots[events.order[i + NEXT]])
        time = events.times[e]
        if time > table.clocks[1]:
            table.clocks[1] = time
            table.clocks[0] = max(table.clocks[0], time - plan.lateness_ms)
        # also after a return for a full outbox: the deadlines that are left fire before the event
        due = table.counts[2] > 0 and table.heap_times[0] <= table.clocks[0]
        if due and not _fire(table, plan, weights, out, room):
            return i
        if not has_room(table.store):
            return i
        row = place_of(table.store, events.slots[e])
        _event(events, e, row, table, plan, weights, out, room)
    table.clocks[0] = max(table.clocks[0], table.clocks[1] - plan.lateness_ms)
    return count if _fire(table, plan, weights, out, room) else -1
