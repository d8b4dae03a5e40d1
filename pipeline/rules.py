"""Step 7: evaluates conditions, fires policies, and writes the receipt of each decision."""

from __future__ import annotations

from typing import Any

import numpy as np

from customers.row import ABSENT_BITS, view
from decisions.conditions import evaluate
from decisions.policies import FIELD, SCORE, VIEW
from models.scoring import Weights
from streams.avro import put_doubles, put_frame, put_long, put_raw
from streams.kernels import inlined, inner

from .arrays import OutboxArrays, PartitionArrays, Scratch
from .emit import finish, put_joined, put_key, put_position, put_text
from .plan import (
    PassPlan,
)
from .scores import score_of


@inlined
def event_field(fields: Any, event: int, index: int, plan: PassPlan) -> Any:
    """Return a field as a number; a set of bits as its unsigned integer."""
    value = fields[event, index]
    if plan.bit_fields[index]:
        bits = fields.view(np.int64)[event, index]
        if bits != ABSENT_BITS:
            return np.float64(np.uint64(bits))
    return value


@inner
def _decide(
    table: PartitionArrays, plan: PassPlan, weights: Weights, out: OutboxArrays, room: Scratch, slot: int,
    row: int, policy: int, now: float,
    topic: int,
    offset: int, cause: int, due: float, fields: Any, event: int,
) -> None:  # fmt: skip
    """Encode one decision with its receipt.

    If `topic` is -1, the cause is the deadline `cause` that was `due`; otherwise it is an event of kind `cause`.
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
        p = put_position(data, p, plan, topic, table.number, offset, policy)
    else:
        p = put_joined(data, p, table, slot, plan.deadlines, cause, np.int64(due), plan.policy_names, policy)
    p = put_key(data, p, table, slot)
    p = put_text(data, p, plan.policy_names, policy)
    p = put_long(data, p, plan.rules.topic[policy])  # the enum has the order of the topics: alert, offer
    p = put_long(data, p, np.int64(now))
    if topic >= 0:
        p = put_text(data, p, plan.kinds, cause)
        p = put_text(data, p, plan.topics, topic)
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
        score_of(table, plan, weights, room, row, m, now)
    if models > 0:
        p = put_long(data, p, models)
        for m in range(models):
            p = put_long(data, p, weights.version[m])
    data[p] = 0
    p = put_doubles(data, p + 1, room.scores, models)
    for f in range(fields.shape[1]):
        room.fields[f] = event_field(fields, event, f, plan)
    p = put_doubles(data, p, room.fields, fields.shape[1])
    p = put_doubles(data, p, room.all_views, len(room.all_views))
    finish(out, start, p, slot, np.int64(plan.rules.topic[policy]), policy)


@inner
def holds(
    table: PartitionArrays, plan: PassPlan, weights: Weights, room: Scratch, row: int, policy: int, now: float,
    start: int, stop: int
) -> Any:  # fmt: skip
    """Return whether a condition is true. The first evaluation takes the scores as NULL: a result that is known then
    holds for all scores, unless the condition asks for NULL itself (`PolicyArrays.asks_null`)."""
    rules = plan.rules
    if not rules.asks_null[policy]:
        value = evaluate(rules.code, start, stop, rules.constants, room.inputs, room.stack)
        if value == value or not rules.scored[policy]:
            return value == 1.0
    first = rules.input_start[policy]
    for i in range(first, rules.input_start[policy + 1]):
        if rules.input_type[i] == SCORE:
            model = np.int64(rules.input_index[i])
            room.inputs[i - first] = score_of(table, plan, weights, room, row, model, now)
    return evaluate(rules.code, start, stop, rules.constants, room.inputs, room.stack) == 1.0


@inlined
def _gather(
    table: PartitionArrays, plan: PassPlan, room: Scratch, row: int, policy: int, now: float, topic: int,
    cause: int, fields: Any,
    event: int,
) -> None:  # fmt: skip
    """Look up the inputs of a policy's conditions, except the scores."""
    rules = plan.rules
    first = rules.input_start[policy]
    for i in range(first, rules.input_start[policy + 1]):
        kind = rules.input_type[i]
        index = np.int64(rules.input_index[i])
        if kind == VIEW:
            v = plan.views
            value = view(table.rows, table.bits, row, v.opcode[index], v.word[index], v.parameter[index], now)
        elif kind == SCORE:
            value = np.nan
        elif kind == FIELD:
            value = event_field(fields, event, index, plan)
        else:
            value = np.float64(cause) if topic >= 0 else np.nan
        room.inputs[i - first] = value


@inlined
def judge(
    table: PartitionArrays, plan: PassPlan, weights: Weights, out: OutboxArrays, room: Scratch, slot: int,
    row: int, policy: int, now: float,
    topic: int,
    offset: int, cause: int, due: float, fields: Any, event: int,
) -> None:  # fmt: skip
    """Evaluate one policy for one row, update its state, and emit the decision if it fires."""
    rules = plan.rules
    _gather(table, plan, room, row, policy, now, topic, cause, fields, event)
    word = rules.word[policy]
    exit_start = np.int64(rules.exit_start[policy])
    exit_stop = np.int64(rules.exit_stop[policy])
    hysteresis = exit_stop > exit_start
    if hysteresis and table.rows[row, word + 1] != 0.0:
        if not holds(table, plan, weights, room, row, policy, now, exit_start, exit_stop):
            return
        table.rows[row, word + 1] = 0.0
    fired = table.rows[row, word]
    if fired != 0.0 and now - fired < rules.cooldown_ms[policy]:
        return
    when_start = np.int64(rules.when_start[policy])
    when_stop = np.int64(rules.when_stop[policy])
    if holds(table, plan, weights, room, row, policy, now, when_start, when_stop):
        table.rows[row, word] = now
        if hysteresis:
            table.rows[row, word + 1] = 1.0
        _decide(
            table, plan, weights, out, room, slot, row, policy, now, topic, offset, cause, due, fields, event
        )  # fmt: skip
