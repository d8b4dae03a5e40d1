"""Steps 5 to 7 and 10 for one partition: the loop over merged events, compiled. docs/ARCHITECTURE.md is its text."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from customers.row.fold import ABSENT_BITS, decay, fold, view
from customers.row.layout import EXAMPLE_HEAD
from decisions.conditions.machine import evaluate
from decisions.policies.program import FIELD, SCORE, VIEW
from models.scoring.scorer import Weights, score, transform
from streams.avro.encoder import digits, put_decimal, put_double, put_doubles, put_frame, put_long, put_raw
from streams.engine.partition import CHANGELOG, TAKEN, VIEWS, keep_taken
from streams.kernels.jit import inlined, kernel, prefetch
from streams.state.deadline_heap import earliest, pop, push
from streams.state.key_index import key_size, key_start
from streams.state.rows import NEXT, SOON, Store, ask_row, has_room, place_of

from .plan import (
    EXAMPLES,
    GATE,
    ON_PROOF,
    SAME_FIELD,
    SAME_WORD,
    SUM_FIELD,
    SUM_WORD,
    WORD,
    WORDS,
    Models,
    Plan,
)

DUPLICATES, SKIPPED, LATE, FIRED = range(4)  # counters
MANY_COLONS = 3


class Events(NamedTuple):
    """The inbox's columns (see `streams.engine.inbox.Inbox`)."""

    times: Any
    kinds: Any
    topics: Any
    offsets: Any
    message_ids: Any
    slots: Any
    fields: Any
    order: Any


class Table(NamedTuple):
    """The partition's arrays (see `streams.engine.partition.Partition`).

    `rows`, `bits`, `floats`: the whole rows of `store`, as float64, int64 and float32. A customer has a *slot*, by
    which all else is found, and while its row is whole a *row* among them.
    """

    number: int
    rows: Any
    bits: Any
    floats: Any
    store: Store
    hashes: Any
    spans: Any
    keys: Any
    dirty: Any
    changed: Any
    seen: Any
    counts: Any
    wake: Any
    heap_times: Any
    heap_slots: Any
    clocks: Any


class Out(NamedTuple):
    """The outbox's arrays (see `streams.kafka.producer.Outbox`) and counters (int64[4])."""

    data: Any
    at: Any
    size: Any
    slot: Any
    topic: Any
    label: Any
    used: Any
    counters: Any
    largest: int


class Room(NamedTuple):
    """Scratch: views of the features, the feature vector, scores, which of these are of this row and time (`ready:
    uint8[m + 1]`, the vector's last), a policy's inputs, the stack, all views, the fields of no event (NaN), an event's
    fields as numbers."""

    looked: Any
    x: Any
    scores: Any
    ready: Any
    inputs: Any
    stack: Any
    all_views: Any
    no_fields: Any
    fields: Any


@inlined
def _room_left(out: Out, records: int) -> Any:
    return out.used[0] + records <= len(out.at) and out.used[1] + records * out.largest <= len(out.data)


@inlined
def _mark(table: Table, slot: int, row: int) -> None:
    """Note that a row is about to change, for the changelog (1) and for the views (2)."""
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


@kernel
def _schedule(table: Table, plan: Plan, slot: int, row: int) -> None:
    """Enter the row's earliest deadline into the heap, if it is earlier than what stands there."""
    due, which = earliest(table.rows, row, plan.deadline_words)
    if which >= 0 and (table.wake[slot] == 0.0 or due < table.wake[slot]):
        table.counts[2] = push(
            table.heap_times, table.heap_slots, table.counts[2], table.hashes, table.wake, due, slot
        )


@kernel
def _finish(out: Out, start: int, stop: int, slot: int, topic: int, label: int) -> None:
    record = out.used[0]
    out.at[record] = start
    out.size[record] = stop - start
    out.slot[record] = slot
    out.topic[record] = topic
    out.label[record] = label
    out.used[0] = record + 1
    out.used[1] = stop


@kernel
def _put_text(data: Any, p: int, names: Any, number: int) -> int:
    start = names.ends[number]
    stop = names.ends[number + 1]
    return put_raw(data, put_long(data, p, stop - start), names.data, start, stop)


@kernel
def _put_joined(
    data: Any, p: int, table: Table, slot: int, names: Any, number: int, time: int, tail: Any, last: int
) -> int:
    """The id `<customer>:<name>:<time>`, and `:<tail>` unless `last` is -1."""
    start = key_start(table.spans, slot)
    stop = start + key_size(table.spans, slot)
    a = names.ends[number]
    b = names.ends[number + 1]
    size = stop - start + 1 + b - a + 1 + digits(time)
    if last >= 0:
        size += 1 + tail.ends[last + 1] - tail.ends[last]
    p = put_long(data, p, size)
    p = put_raw(data, p, table.keys, start, stop)
    data[p] = 58
    p = put_raw(data, p + 1, names.data, a, b)
    data[p] = 58
    p = put_decimal(data, p + 1, time)
    if last >= 0:
        data[p] = 58
        p = put_raw(data, p + 1, tail.data, tail.ends[last], tail.ends[last + 1])
    return p


@kernel
def _put_position(data: Any, p: int, plan: Plan, topic: int, partition: int, offset: int, policy: int) -> int:
    """The id `<topic>:<partition>:<offset>:<policy>`."""
    a = plan.topics.ends[topic]
    b = plan.topics.ends[topic + 1]
    c = plan.policy_names.ends[policy]
    d = plan.policy_names.ends[policy + 1]
    p = put_long(data, p, b - a + digits(partition) + digits(offset) + d - c + MANY_COLONS)
    p = put_raw(data, p, plan.topics.data, a, b)
    data[p] = 58
    p = put_decimal(data, p + 1, partition)
    data[p] = 58
    p = put_decimal(data, p + 1, offset)
    data[p] = 58
    return put_raw(data, p + 1, plan.policy_names.data, c, d)


@kernel
def _put_key(data: Any, p: int, table: Table, slot: int) -> int:
    start = key_start(table.spans, slot)
    stop = start + key_size(table.spans, slot)
    return put_raw(data, put_long(data, p, stop - start), table.keys, start, stop)


@inlined
def _field(fields: Any, event: int, index: int, plan: Plan) -> Any:
    """A field as a number; a set of bits counts as the unsigned integer it is."""
    value = fields[event, index]
    if plan.bit_fields[index]:
        bits = fields.view(np.int64)[event, index]
        if bits != ABSENT_BITS:
            return np.float64(np.uint64(bits))
    return value


@kernel
def _decide(
    table: Table, plan: Plan, weights: Weights, out: Out, room: Room, slot: int, row: int, policy: int, now: float,
    topic: int,
    offset: int, cause: int, due: float, fields: Any, event: int,
) -> None:  # fmt: skip
    """Encode one decision with its receipt.

    `topic` -1: deadline `cause` that was `due`; else an event of kind `cause`.
    """
    views = plan.views
    for v in range(len(views.opcode)):
        room.all_views[v] = view(
            table.rows, table.bits, row, views.opcode[v], views.word[v], views.parameter[v], now
        )  # fmt: skip
    data = out.data
    start = out.used[1]
    p = put_frame(data, start, plan.decision_schema)
    if topic >= 0:
        p = _put_position(data, p, plan, topic, table.number, offset, policy)
    else:
        p = _put_joined(data, p, table, slot, plan.deadlines, cause, np.int64(due), plan.policy_names, policy)
    p = _put_key(data, p, table, slot)
    p = _put_text(data, p, plan.policy_names, policy)
    p = put_long(data, p, plan.rules.topic[policy])  # the enum's order is that of the topics: alert, offer
    p = put_long(data, p, np.int64(now))
    if topic >= 0:
        p = _put_text(data, p, plan.kinds, cause)
        p = _put_text(data, p, plan.topics, topic)
    else:
        a = plan.deadlines.ends[cause]
        b = plan.deadlines.ends[cause + 1]
        p = put_long(data, p, 9 + b - a)
        for letter in (100, 101, 97, 100, 108, 105, 110, 101, 46):  # "deadline."
            data[p] = letter
            p += 1
        p = put_raw(data, p, plan.deadlines.data, a, b)
        p = put_long(data, p, 0)
    p = put_long(data, p, table.number)
    p = put_long(data, p, offset if topic >= 0 else -1)
    p = put_long(data, p, plan.layout_id)
    models = len(weights.version)
    for m in range(models):
        _score(table, plan, weights, room, row, m, now)
    if models > 0:
        p = put_long(data, p, models)
        for m in range(models):
            p = put_long(data, p, weights.version[m])
    data[p] = 0
    p = put_doubles(data, p + 1, room.scores, models)
    for f in range(fields.shape[1]):
        room.fields[f] = _field(fields, event, f, plan)
    p = put_doubles(data, p, room.fields, fields.shape[1])
    p = put_doubles(data, p, room.all_views, len(room.all_views))
    _finish(out, start, p, slot, plan.rules.topic[policy], policy)


@kernel
def _holds(
    table: Table, plan: Plan, weights: Weights, room: Room, row: int, policy: int, now: float, start: int, stop: int
) -> Any:  # fmt: skip
    """Whether a condition is true. It is asked without the scores first, as NULL: what is known then stays as it is
    whatever they are, unless the condition asks for NULL itself (`Program.asks_null`)."""
    rules = plan.rules
    if not rules.asks_null[policy]:
        value = evaluate(rules.code, start, stop, rules.constants, room.inputs, room.stack)
        if value == value or not rules.scored[policy]:
            return value == 1.0
    first = rules.input_start[policy]
    for i in range(first, rules.input_start[policy + 1]):
        if rules.input_type[i] == SCORE:
            room.inputs[i - first] = _score(table, plan, weights, room, row, rules.input_index[i], now)
    return evaluate(rules.code, start, stop, rules.constants, room.inputs, room.stack) == 1.0


@inlined
def _gather(
    table: Table, plan: Plan, room: Room, row: int, policy: int, now: float, topic: int, cause: int, fields: Any,
    event: int,
) -> None:  # fmt: skip
    """Look up what a policy's conditions read, but for the scores."""
    rules = plan.rules
    first = rules.input_start[policy]
    for i in range(first, rules.input_start[policy + 1]):
        kind = rules.input_type[i]
        index = rules.input_index[i]
        if kind == VIEW:
            v = plan.views
            value = view(table.rows, table.bits, row, v.opcode[index], v.word[index], v.parameter[index], now)
        elif kind == SCORE:
            value = np.nan
        elif kind == FIELD:
            value = _field(fields, event, index, plan)
        else:
            value = np.float64(cause) if topic >= 0 else np.nan
        room.inputs[i - first] = value


@inlined
def _judge(
    table: Table, plan: Plan, weights: Weights, out: Out, room: Room, slot: int, row: int, policy: int, now: float,
    topic: int,
    offset: int, cause: int, due: float, fields: Any, event: int,
) -> None:  # fmt: skip
    """Evaluate one policy for one row, keep its state, and decide."""
    rules = plan.rules
    _gather(table, plan, room, row, policy, now, topic, cause, fields, event)
    word = rules.word[policy]
    exit_start = rules.exit_start[policy]
    exit_stop = rules.exit_stop[policy]
    hysteresis = exit_stop > exit_start
    if hysteresis and table.rows[row, word + 1] != 0.0:
        if not _holds(table, plan, weights, room, row, policy, now, exit_start, exit_stop):
            return
        table.rows[row, word + 1] = 0.0
    fired = table.rows[row, word]
    if fired != 0.0 and now - fired < rules.cooldown_ms[policy]:
        return
    if _holds(
        table, plan, weights, room, row, policy, now, rules.when_start[policy], rules.when_stop[policy]
    ):
        table.rows[row, word] = now
        if hysteresis:
            table.rows[row, word + 1] = 1.0
        _decide(
            table, plan, weights, out, room, slot, row, policy, now, topic, offset, cause, due, fields, event
        )  # fmt: skip


@kernel
def _look(table: Table, plan: Plan, room: Room, row: int, now: float) -> None:
    """Make the feature vector of a row as of `now`, unless it is there."""
    if room.ready[-1]:
        return
    vector = plan.vector
    views = plan.views
    rows = table.rows
    if now == rows[row, 0]:
        for f in range(len(vector.plain)):
            room.looked[f] = rows[row, vector.plain[f]]
        for k in range(len(vector.other)):
            f = vector.other[k]
            v = vector.source[f]
            room.looked[f] = view(
                rows, table.bits, row, views.opcode[v], views.word[v], views.parameter[v], now
            )
    else:
        for f in range(len(vector.source)):
            v = vector.source[f]
            if v >= 0:
                room.looked[f] = view(
                    rows, table.bits, row, views.opcode[v], views.word[v], views.parameter[v], now
                )
    transform(room.looked, now, vector.code, vector.missing, vector.apart, room.x)
    room.ready[-1] = 1


@kernel
def _score(table: Table, plan: Plan, weights: Weights, room: Room, row: int, model: int, now: float) -> Any:
    """A model's score of a row as of `now`, made when it is first asked for; NaN without a snapshot."""
    if not room.ready[model]:
        room.scores[model] = np.nan
        if weights.have[model]:
            _look(table, plan, room, row, now)
            room.scores[model] = score(room.x, model, weights)
        room.ready[model] = 1
    return room.scores[model]


@kernel
def _close(
    table: Table, plan: Plan, out: Out, slot: int, row: int, model: int, label: int, label_time: float
) -> None:
    """Emit a model's open example with its label and forget it: what is zero takes no room in a packed row."""
    word = plan.models.about[model, WORD]
    opened = table.rows[row, word]
    data = out.data
    start = out.used[1]
    p = put_frame(data, start, plan.example_schema)
    p = _put_joined(data, p, table, slot, plan.model_names, model, np.int64(opened), plan.model_names, -1)
    p = _put_key(data, p, table, slot)
    p = _put_text(data, p, plan.model_names, model)
    p = put_long(data, p, label)
    p = put_long(data, p, np.int64(opened))
    p = put_long(data, p, np.int64(table.rows[row, word + 1]))
    p = put_long(data, p, np.int64(label_time))
    p = put_double(data, p, table.rows[row, word + 2])
    p = put_long(data, p, table.bits[row, word + 3])
    features = len(plan.vector.source)
    if features > 0:
        p = put_long(data, p, features)
        first = 2 * (word + EXAMPLE_HEAD)
        target = data[p : p + 4 * features].view(np.float32)
        for f in range(features):
            target[f] = table.floats[row, first + f]
        p += 4 * features
    data[p] = 0
    p = put_long(data, p + 1, plan.layout_id)
    total = plan.models.about[model, SUM_WORD]
    data[p] = 2 if total > 0 else 0  # the branch of `amount`: a number, or null
    p += 1
    if total > 0:
        p = put_double(data, p, table.rows[row, total])
    _finish(out, start, p, slot, EXAMPLES, model)
    for w in range(word, word + plan.models.about[model, WORDS]):
        table.rows[row, w] = 0.0


@inlined
def _may_open(
    table: Table, plan: Plan, room: Room, row: int, model: int, kind: int, fields: Any, event: int
) -> Any:
    """Whether an event has what a proof has to share with it, and the model's condition is true."""
    models = plan.models
    if models.about[model, SAME_WORD] > 0 and np.isnan(fields[event, models.about[model, SAME_FIELD]]):
        return False
    gate = models.about[model, GATE]
    if gate < 0:
        return True
    now = table.rows[row, 0]
    _gather(table, plan, room, row, gate, now, 0, kind, fields, event)
    rules = plan.rules
    start, stop = rules.when_start[gate], rules.when_stop[gate]
    return evaluate(rules.code, start, stop, rules.constants, room.inputs, room.stack) == 1.0


@kernel
def _open(
    table: Table, plan: Plan, weights: Weights, room: Room, row: int, model: int, time: float, fields: Any, event: int
) -> None:  # fmt: skip
    """Keep the features and the score as of the row's clock until the label is known."""
    word = plan.models.about[model, WORD]
    same = plan.models.about[model, SAME_WORD]
    now = table.rows[row, 0]
    if same > 0:
        table.rows[row, same] = fields[event, plan.models.about[model, SAME_FIELD]]
    _look(table, plan, room, row, now)
    table.rows[row, word] = time
    table.rows[row, word + 1] = time + plan.models.within_ms[model]
    table.rows[row, word + 2] = _score(table, plan, weights, room, row, model, now)
    table.bits[row, word + 3] = weights.version[model]
    first = 2 * (word + EXAMPLE_HEAD)
    for f in range(len(room.x)):
        table.floats[row, first + f] = np.float32(room.x[f])


@kernel
def _fire(table: Table, plan: Plan, weights: Weights, out: Out, room: Room) -> bool:
    """Fire every deadline that is due, in order. False: the outbox or the places for rows are full, call again."""
    policies = len(plan.rules.topic)
    while table.counts[2] > 0 and table.heap_times[0] <= table.clocks[0]:
        woken = table.heap_times[0]
        slot = table.heap_slots[0]
        if table.wake[slot] != woken:  # stale
            table.counts[2] = pop(table.heap_times, table.heap_slots, table.counts[2], table.hashes)
            continue
        if not _room_left(out, policies + 1) or not has_room(table.store):
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
                _close(table, plan, out, slot, row, model, 1 - plan.models.about[model, ON_PROOF], due)
            else:
                now = max(table.rows[row, 0], due)
                table.rows[row, plan.deadline_words[which]] = 0.0
                first = plan.rules.deadline_start[which]
                last = plan.rules.deadline_start[which + 1]
                room.ready[:] = 0
                for j in range(first, last):
                    policy = plan.rules.deadline_policy[j]
                    _judge(
                        table, plan, weights, out, room, slot, row, policy, now, -1, -1, which, due, room.no_fields, 0
                    )  # fmt: skip
        _schedule(table, plan, slot, row)
    return True


@kernel
def _start_anew(table: Table, plan: Plan, row: int) -> None:
    """Forget all of a row but the offsets that are applied to it."""
    for w in range(table.bits.shape[1]):
        if w < 1 or w > len(plan.topics.ends) - 1:
            table.bits[row, w] = table.store.default[0, w]


@inlined
def _repeated(table: Table, plan: Plan, row: int, message_id: int) -> bool:
    """Whether the message id is among the row's latest ones; if not it is entered."""
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
def _is_same(rows: Any, row: int, models: Models, model: int, fields: Any, event: int) -> Any:
    """Whether an event has in common with the one that opened an example what it has to."""
    word = models.about[model, SAME_WORD]
    return word == 0 or rows[row, word] == fields[event, models.about[model, SAME_FIELD]]


@inlined
def _event(
    events: Events, e: int, row: int, table: Table, plan: Plan, weights: Weights, out: Out, room: Room
) -> None:
    """One event, in the order that docs/ARCHITECTURE.md gives (from 2 on)."""
    rows = table.rows
    slot = events.slots[e]
    topic = events.topics[e]
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
    kind = events.kinds[e]
    models = plan.models
    moved = False
    if kind >= 0:
        for j in range(models.proof_start[kind], models.proof_start[kind + 1]):
            m = models.proof_model[j]
            word = models.about[m, WORD]
            if (
                rows[row, word] > 0.0
                and time > rows[row, word]
                and _is_same(rows, row, models, m, events.fields, e)
            ):
                due = rows[row, word + 1]
                if models.about[m, SUM_WORD] > 0:
                    value = events.fields[e, models.about[m, SUM_FIELD]]
                    if time <= due and not np.isnan(value):
                        rows[row, models.about[m, SUM_WORD]] += value
                    continue
                proven = models.about[m, ON_PROOF]
                _close(table, plan, out, slot, row, m, proven if time <= due else 1 - proven, min(time, due))
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
            and _may_open(table, plan, room, row, m, kind, events.fields, e)
        ):
            _open(table, plan, weights, room, row, m, time, events.fields, e)
            moved = True
    for j in range(plan.rules.kind_start[kind], plan.rules.kind_start[kind + 1]):
        policy = plan.rules.kind_policy[j]
        _judge(
            table, plan, weights, out, room, slot, row, policy, clock, topic, offset, kind, 0.0, events.fields, e
        )  # fmt: skip
    if moved:
        _schedule(table, plan, slot, row)


@kernel
def run(
    events: Events, first: int, count: int, table: Table, plan: Plan, weights: Weights, out: Out, room: Room
) -> int:
    """Fold events `order[first:count]`, firing what becomes due. Returns `count` when all is done, the next event when
    the outbox or the places for rows are full, -1 when only deadlines are left (see
    `streams.engine.engine.Pass.run`)."""
    records = len(plan.rules.topic) + len(plan.models.within_ms)
    for i in range(first, count):
        if not _room_left(out, records):
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
        # asked again after a full outbox: what is left to fire comes before the event all the same
        due = table.counts[2] > 0 and table.heap_times[0] <= table.clocks[0]
        if due and not _fire(table, plan, weights, out, room):
            return i
        if not has_room(table.store):
            return i
        row = place_of(table.store, events.slots[e])
        _event(events, e, row, table, plan, weights, out, room)
    table.clocks[0] = max(table.clocks[0], table.clocks[1] - plan.lateness_ms)
    return count if _fire(table, plan, weights, out, room) else -1
