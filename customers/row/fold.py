"""Step 5: how one event changes one row. docs/steps/05-fold.md has the table that these kernels implement."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from streams.kernels import bits_set, inlined, kernel

from .columns import (
    BITS_OF,
    DECAY,
    HOURS_SINCE,
    HOURS_UNTIL,
    IF_ANY,
    MEAN_OF,
    MINUTES,
    RING_MEAN,
    SPREAD_OF,
    Features,
)
from .layout import Layout

HOUR_MS = 3_600_000.0
ABSENT_BITS = int(np.array([np.nan]).view(np.int64)[0])  # an absent field (NaN), read as a set of bits
LN2 = 0.6931471805599453
NEGLIGIBLE = 1e-30  # a decayed value below this is 0: denormal numbers are slow and mean nothing

(DECAYED, TALLY, TOTAL, LARGEST, SMALLEST, LAST_TIME, FIRST_TIME, NEWEST, GAP, SESSION, DISTINCT, BITS, RING,
 RAISE, CLEAR, SCHEDULE) = range(16)  # fmt: skip

_OPCODES = {
    "decayed": DECAYED, "count": TALLY, "sum": TOTAL, "maximum": LARGEST, "minimum": SMALLEST, "latest": LAST_TIME,
    "first": FIRST_TIME, "value": NEWEST, "gap": GAP, "session": SESSION, "distinct": DISTINCT, "ring": RING,
    "flag": RAISE, "deadline": SCHEDULE,
}  # fmt: skip


class FoldProgram(NamedTuple):
    """What each event kind does.

    Its steps are `start[kind] .. start[kind + 1]` of `opcode, word, field: int64[s]` and `parameter: float64[s]`
    (a rate in 1/ms, a duration in ms, or a ring's size). `field` -1 means the value 1. `decay_factor: float64[g]`
    is scratch; for the other decay arrays see `Layout`.
    """

    start: Any
    opcode: Any
    word: Any
    field: Any
    parameter: Any
    decay_start: int
    decay_stop: Any
    decay_rate: Any
    decay_factor: Any


def fold_program(features: Features, layout: Layout) -> FoldProgram:
    """Order the columns' steps by event kind."""
    steps: list[list[tuple[int, int, int, float]]] = [[] for _ in features.kinds]
    reduced = {f.name: f.reduce for f in features.fields}
    for column in features.columns:
        field = features.field_index(column.field) if column.field else -1
        opcode = _OPCODES[column.kind]
        if opcode == DISTINCT and reduced[str(column.field)] == "bits":
            opcode = BITS
        parameter = {DECAYED: 1.0 / column.half_life_ms if column.half_life_ms else 0.0, SESSION: column.gap_ms,
                     RING: float(column.size), SCHEDULE: column.after_ms}.get(opcode, 0.0)  # fmt: skip
        word = layout.column_at[column.name]
        for kind in column.on:
            steps[features.kind_code(kind)].append((opcode, word, field, parameter))
        for kind in column.clear_on:
            steps[features.kind_code(kind)].append((CLEAR, word, -1, 0.0))
    flat = [step for kind in steps for step in kind]
    return FoldProgram(
        np.cumsum([0, *(len(kind) for kind in steps)]).astype(np.int64),
        np.array([s[0] for s in flat], np.int64),
        np.array([s[1] for s in flat], np.int64),
        np.array([s[2] for s in flat], np.int64),
        np.array([s[3] for s in flat], np.float64),
        layout.decay_start,
        layout.decay_stop,
        layout.decay_rate,
        np.zeros(len(layout.decay_rate)),
    )


@inlined
def power_of_two(x: float) -> float:
    """Return 2^x for x <= 0, within 2 units of the last place; 0 below 2^-1000.

    It uses plain operations only, so that the compiler can vectorise loops over it. 2^x = 2^n * 2^f with
    n = round(x), and 2^f = exp(f ln 2) by its Taylor series, |f| <= 1/2 (the first omitted term is below 4e-18).
    """
    bounded = max(x, -1000.0)
    n = np.floor(bounded + 0.5)
    t = (bounded - n) * LN2
    series = 1.0 + t * (1.0 + t * (1 / 2 + t * (1 / 6 + t * (1 / 24 + t * (1 / 120 + t * (1 / 720 + t * (
        1 / 5040 + t * (1 / 40320 + t * (1 / 362880 + t * (1 / 3628800 + t * (1 / 39916800 + t * (
        1 / 479001600 + t / 6227020800.0))))
    ))))))))  # fmt: skip
    scale = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return series * scale if x > -1000.0 else 0.0


@inlined
def decay(rows: Any, row: int, elapsed_ms: float, program: FoldProgram) -> None:
    """Bring the decayed columns of a row `elapsed_ms` forward: x * 2^(-elapsed/half-life)."""
    factors = program.decay_factor
    for g in range(len(program.decay_rate)):
        factors[g] = power_of_two(-elapsed_ms * program.decay_rate[g])
    start = program.decay_start
    for g in range(len(program.decay_stop)):
        for word in range(start, program.decay_stop[g]):
            value = rows[row, word] * factors[g]
            rows[row, word] = value if abs(value) > NEGLIGIBLE else 0.0
        start = program.decay_stop[g]


@inlined
def fold(
    rows: Any, bits: Any, row: int, kind: int, time: float, clock: float, late: bool, watermark: float, fields: Any,
    event: int, program: FoldProgram,
) -> bool:  # fmt: skip
    """Apply one event to one row (`rows: float64[c, w]`, `bits`: the same words as int64).

    `fields[event]` has the event's fields. Returns whether it set or cleared a deadline.
    """
    moved = False
    field_bits = fields.view(np.int64)
    for step in range(program.start[kind], program.start[kind + 1]):
        op = program.opcode[step]
        w = program.word[step]
        f = program.field[step]
        value = 1.0
        if f >= 0:
            value = fields[event, f]
            if field_bits[event, f] == ABSENT_BITS or (op != BITS and np.isnan(value)):
                continue
        if op == DECAYED:
            if late:
                value *= power_of_two((time - clock) * program.parameter[step])
            rows[row, w] += value
        elif op == TALLY or op == TOTAL:
            rows[row, w] += value
        elif op == LAST_TIME:
            rows[row, w] = max(rows[row, w], time)
        elif op == LARGEST:
            if not rows[row, w] >= value:
                rows[row, w] = value
        elif op == SMALLEST:
            if not rows[row, w] <= value:
                rows[row, w] = value
        elif op == FIRST_TIME:
            if rows[row, w] == 0.0 or time < rows[row, w]:
                rows[row, w] = time
        elif op == NEWEST:
            if time >= rows[row, w + 1]:
                rows[row, w] = value
                rows[row, w + 1] = time
        elif op == SESSION:
            if late:
                rows[row, w + 2] += 1.0
            else:
                if rows[row, w + 1] == 0.0 or time - rows[row, w] > program.parameter[step]:
                    rows[row, w + 1] += 1.0
                    rows[row, w + 2] = 0.0
                    rows[row, w + 3] = time
                rows[row, w + 2] += 1.0
                rows[row, w] = max(rows[row, w], time)
        elif op == GAP:
            last = rows[row, w]
            if last == 0.0:
                rows[row, w] = time
            elif time > last:
                gap = (time - last) / HOUR_MS  # Welford, Technometrics 4(3), 1962
                n = rows[row, w + 1] + 1.0
                delta = gap - rows[row, w + 2]
                mean = rows[row, w + 2] + delta / n
                rows[row, w] = time
                rows[row, w + 1] = n
                rows[row, w + 2] = mean
                rows[row, w + 3] += delta * (gap - mean)
                rows[row, w + 4] = gap
        elif op == DISTINCT:
            bits[row, w] |= np.int64(1) << (np.int64(value) & 63)
        elif op == BITS:
            bits[row, w] |= field_bits[event, f]
        elif op == RING:
            size = np.int64(program.parameter[step])
            rows[row, w + 1 + np.int64(rows[row, w]) % size] = value
            rows[row, w] += 1.0
        elif op == RAISE:
            rows[row, w] = 1.0
        elif op == CLEAR:
            rows[row, w] = 0.0
            moved = True
        elif not late and time + program.parameter[step] > watermark:  # SCHEDULE
            rows[row, w] = time + program.parameter[step]
            moved = True
    return moved


@kernel
def look_at(rows: Any, bits: Any, opcode: Any, word: Any, parameter: Any, out: Any) -> None:
    """Write all v views of `rows: float64[n, w]`, each row as of its own clock, to `out: float64[n, v]`."""
    for i in range(len(rows)):
        for v in range(len(opcode)):
            out[i, v] = view(rows, bits, i, opcode[v], word[v], parameter[v], rows[i, 0])


@kernel
def view(rows: Any, bits: Any, row: int, opcode: int, word: int, parameter: float, now: float) -> Any:
    """Return one view of a row as of `now` (>= the row's clock, word 0); NaN if the row has no value for it."""
    x = rows[row, word]
    if opcode == DECAY:
        elapsed = now - rows[row, 0]
        return x * power_of_two(-elapsed * parameter) if elapsed > 0.0 else x
    if opcode == HOURS_SINCE:
        return (now - x) / HOUR_MS if x > 0.0 else np.nan
    if opcode == HOURS_UNTIL:
        return (x - now) / HOUR_MS if x > 0.0 else np.nan
    if opcode == MEAN_OF:
        return rows[row, word + 1] if x > 0.0 else np.nan
    if opcode == SPREAD_OF:
        return np.sqrt(rows[row, word + 2] / x) if x > 0.0 else np.nan
    if opcode == IF_ANY:
        return x if rows[row, word - 3] > 0.0 else np.nan
    if opcode == BITS_OF:
        return np.float64(bits_set(bits[row, word]))
    if opcode == MINUTES:
        return (x - rows[row, word + 3]) / 60_000.0
    if opcode == RING_MEAN:
        kept = np.int64(min(x, parameter))
        if kept == 0:
            return np.nan
        total = 0.0
        for k in range(kept):
            total += rows[row, word + 1 + k]
        return total / kept
    return x
