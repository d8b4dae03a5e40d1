"""The column kinds: their words, what an event does to them, and what can be seen of them.

Words are a plain dict for each column. `math.nan` is "not known"; times are milliseconds, 0 is "never".
"""

from __future__ import annotations

import math

from tests.reference.declared import Column
from tests.reference.hashing import bit_of

Words = dict[str, float]
HOUR_MS = 3_600_000
NEGLIGIBLE = 1e-30


def new_words(column: Column) -> Words:
    """The words of a customer of whom nothing is known, in the order of the layout."""
    match column.kind:
        case "maximum" | "minimum":
            return {"x": math.nan}
        case "latest" | "first":
            return {"t": 0}
        case "value":
            return {"v": math.nan, "t": 0}
        case "gap":
            return {"last": 0, "n": 0, "mean": 0.0, "m2": 0.0, "last_gap": 0.0}
        case "session":
            return {"last": 0, "sessions": 0, "events": 0, "start": 0}
        case "distinct":
            return {"bitmap": 0}
        case "ring":
            return {"n": 0} | {f"values[{index}]": 0.0 for index in range(column.size)}
        case "deadline":
            return {"due": 0}
        case "decayed" | "count" | "sum" | "flag":
            return {"x": 0.0}
        case kind:
            raise ValueError(f"{column.name}: unknown kind {kind!r}")


def decay_row(x: float, elapsed_ms: float, half_life_ms: float) -> float:
    """A decayed word brought forward; what is negligible is 0."""
    left = decay(x, elapsed_ms, half_life_ms)
    return left if abs(left) > NEGLIGIBLE else 0.0


def decay(x: float, elapsed_ms: float, half_life_ms: float) -> float:
    return x * math.exp2(-elapsed_ms / half_life_ms)


def fold(
    column: Column, words: Words, kind: str, value: float, time: int, clock: int, late: bool, watermark: int
) -> None:
    """Change `words` by one event of `kind`. `value` is the field's (NaN: absent), 1 where none is named."""
    if column.kind == "deadline":
        if kind in column.on and not late and time + column.after_ms > watermark:
            words["due"] = time + column.after_ms
    elif kind in column.on and not math.isnan(value):
        _fold_value(column, words, value, time, clock, late)
    if kind in column.clear_on:
        words["due" if column.kind == "deadline" else "x"] = 0


def _fold_value(column: Column, words: Words, value: float, time: int, clock: int, late: bool) -> None:
    match column.kind:
        case "decayed":
            words["x"] += decay(value, clock - time, column.half_life_ms)
        case "count":
            words["x"] += 1
        case "sum":
            words["x"] += value
        case "maximum":
            words["x"] = value if math.isnan(words["x"]) else max(words["x"], value)
        case "minimum":
            words["x"] = value if math.isnan(words["x"]) else min(words["x"], value)
        case "latest":
            words["t"] = max(words["t"], time)
        case "first":
            words["t"] = time if words["t"] == 0 else min(words["t"], time)
        case "value":
            if time >= words["t"]:
                words["v"], words["t"] = value, time
        case "gap":
            _fold_gap(words, time)
        case "session":
            _fold_session(words, time, late, column.gap_ms)
        case "distinct":
            words["bitmap"] = int(words["bitmap"]) | bit_of(value)
        case "ring":
            words[f"values[{int(words['n']) % column.size}]"] = value
            words["n"] += 1
        case "flag":
            words["x"] = 1


def fold_bits(words: Words, bits: int) -> None:
    """A `distinct` column over a field reduced by `bits`: ORed whole."""
    words["bitmap"] = int(words["bitmap"]) | bits


def _fold_gap(words: Words, time: int) -> None:
    if words["last"] == 0:
        words["last"] = time
    elif time > words["last"]:
        # Welford: https://en.wikipedia.org/wiki/Algorithms_for_calculating_variance#Welford's_online_algorithm
        gap_h = (time - words["last"]) / HOUR_MS
        words["n"] += 1
        delta = gap_h - words["mean"]
        words["mean"] += delta / words["n"]
        words["m2"] += delta * (gap_h - words["mean"])
        words["last"], words["last_gap"] = time, gap_h


def _fold_session(words: Words, time: int, late: bool, gap_ms: int) -> None:
    if late:
        words["events"] += 1
        return
    if words["sessions"] == 0 or time - words["last"] > gap_ms:
        words["sessions"] += 1
        words["events"] = 0
        words["start"] = time
    words["events"] += 1
    words["last"] = max(words["last"], time)


def view_names(column: Column) -> list[str]:
    return list(views(column, new_words(column), 1, 1))


def views(column: Column, words: Words, clock: int, now: int) -> dict[str, float]:
    """Every view of a column as of `now`, in the order of the contract; the words stand at `clock`."""
    name = column.name
    match column.kind:
        case "decayed":
            return {name: decay(words["x"], now - clock, column.half_life_ms)}
        case "latest" | "first":
            return {name: (now - words["t"]) / HOUR_MS if words["t"] else math.nan}
        case "value":
            return {name: words["v"]}
        case "gap":
            known = words["n"] > 0
            return {
                name: words["mean"] if known else math.nan,
                f"{name}.spread": math.sqrt(words["m2"] / words["n"]) if known else math.nan,
                f"{name}.last": words["last_gap"] if known else math.nan,
            }
        case "session":
            return {
                name: words["sessions"],
                f"{name}.events": words["events"],
                f"{name}.minutes": (words["last"] - words["start"]) / 60_000,
            }
        case "distinct":
            return {name: float(int(words["bitmap"]).bit_count())}
        case "ring":
            kept = min(int(words["n"]), column.size)
            total = sum(words[f"values[{index}]"] for index in range(kept))
            return {name: total / kept if kept else math.nan}
        case "deadline":
            return {name: (words["due"] - now) / HOUR_MS if words["due"] else math.nan}
        case _:
            return {name: words["x"]}
