"""Step 10 in the worker: an example opens with an event and closes with its proof or at its deadline."""

from __future__ import annotations

from typing import Any

import numpy as np

from customers.row import EXAMPLE_HEAD
from decisions.conditions import evaluate
from models.scoring import Weights
from streams.avro import put_double, put_frame, put_long
from streams.kernels import inlined, inner

from .arrays import OutboxArrays, PartitionArrays, Scratch
from .emit import finish, put_joined, put_key, put_text
from .plan import (
    EXAMPLES,
    GATE,
    SAME_FIELD,
    SAME_WORD,
    SUM_WORD,
    WORD,
    WORDS,
    LabelArrays,
    PassPlan,
)
from .rules import _gather
from .scores import look, score_of


@inner
def close_example(
    table: PartitionArrays,
    plan: PassPlan,
    out: OutboxArrays,
    slot: int,
    row: int,
    model: int,
    label: int,
    label_time: float,
) -> None:
    """Emit a model's open example with its label, then set its words to 0, which take no space in a packed row."""
    word = plan.models.about[model, WORD]
    opened = table.rows[row, word]
    data = out.data
    start = out.used[1]
    p = put_frame(data, start, plan.example_schema)
    opened_ms = np.int64(opened)
    p = put_joined(data, p, table, slot, plan.model_names, model, opened_ms, plan.model_names, np.int64(-1))
    p = put_key(data, p, table, slot)
    p = put_text(data, p, plan.model_names, model)
    p = put_long(data, p, label)
    p = put_long(data, p, opened_ms)
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
    data[p] = 2 if total > 0 else 0  # the union branch of `amount`: a number (1, zig-zag 2) or null
    p += 1
    if total > 0:
        p = put_double(data, p, table.rows[row, total])
    finish(out, start, p, slot, np.int64(EXAMPLES), model)
    for w in range(word, word + plan.models.about[model, WORDS]):
        table.rows[row, w] = 0.0


@inlined
def may_open(
    table: PartitionArrays,
    plan: PassPlan,
    room: Scratch,
    row: int,
    model: int,
    kind: int,
    fields: Any,
    event: int,
) -> Any:
    """Return whether an event may open an example: it has the field that a proof must share, and `if` is true."""
    models = plan.models
    if models.about[model, SAME_WORD] > 0 and np.isnan(fields[event, models.about[model, SAME_FIELD]]):
        return False
    gate = models.about[model, GATE]
    if gate < 0:
        return True
    now = table.rows[row, 0]
    _gather(table, plan, room, row, gate, now, np.int64(0), kind, fields, event)
    rules = plan.rules
    start = np.int64(rules.when_start[gate])
    stop = np.int64(rules.when_stop[gate])
    return evaluate(rules.code, start, stop, rules.constants, room.inputs, room.stack) == 1.0


@inner
def open_example(
    table: PartitionArrays, plan: PassPlan, weights: Weights, room: Scratch, row: int, model: int, time: float,
    fields: Any, event: int
) -> None:  # fmt: skip
    """Store the features and the score as of the row's clock, until the label is known."""
    word = plan.models.about[model, WORD]
    same = plan.models.about[model, SAME_WORD]
    now = table.rows[row, 0]
    if same > 0:
        table.rows[row, same] = fields[event, plan.models.about[model, SAME_FIELD]]
    look(table, plan, room, row, now)
    table.rows[row, word] = time
    table.rows[row, word + 1] = time + plan.models.within_ms[model]
    table.rows[row, word + 2] = score_of(table, plan, weights, room, row, model, now)
    table.bits[row, word + 3] = weights.version[model]
    first = 2 * (word + EXAMPLE_HEAD)
    for f in range(len(room.x)):
        table.floats[row, first + f] = np.float32(room.x[f])


@inlined
def is_same(rows: Any, row: int, models: LabelArrays, model: int, fields: Any, event: int) -> Any:
    """Return whether an event has the same value of the model's `same` field as the event that opened the example."""
    word = models.about[model, SAME_WORD]
    return word == 0 or rows[row, word] == fields[event, models.about[model, SAME_FIELD]]
