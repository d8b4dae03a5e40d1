"""Step 6: computes the features of a row and the models' scores, once for each row and time."""

from __future__ import annotations

from typing import Any

import numpy as np

from customers.row import view
from models.scoring import Weights, score, transform
from streams.kernels import inner

from .arrays import PartitionArrays, Scratch
from .plan import (
    PassPlan,
)


@inner
def look(table: PartitionArrays, plan: PassPlan, room: Scratch, row: int, now: float) -> None:
    """Compute the feature vector of a row as of `now`, unless it is ready."""
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


@inner
def score_of(
    table: PartitionArrays, plan: PassPlan, weights: Weights, room: Scratch, row: int, model: int, now: float
) -> Any:
    """Return a model's score of a row as of `now`, computed at the first call; NaN without a snapshot."""
    if not room.ready[model]:
        room.scores[model] = np.nan
        if weights.have[model]:
            look(table, plan, room, row, now)
            room.scores[model] = score(room.x, model, weights)
        room.ready[model] = 1
    return room.scores[model]
