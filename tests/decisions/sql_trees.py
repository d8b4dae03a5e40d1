"""Random conditions for the property tests: a tree, its SQL, and what it means in plain Python.

A tree is a column name, a number, None (NULL), a bool, or (operator, part, ...). A value is a float, a bool
or None, and every operator says itself what it does with None: this is the twin of `decisions.conditions.machine`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

COLUMNS = ("a", "b", "gap.spread", "event.amount")
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "<>": operator.ne,
}

grid = st.integers(-12, 12).map(lambda n: n / 4)  # values that meet each other and are exact


def trees(only_sqlite: bool = False) -> st.SearchStrategy[Any]:
    """Conditions; `only_sqlite` leaves out what SQLite does otherwise or not at all."""
    leaf = st.one_of(st.sampled_from(COLUMNS), st.sampled_from(COLUMNS), grid)
    unary = ["-", "ABS"] if only_sqlite else ["-", "ABS", "SQRT", "LN", "ROUND"]
    binary = ["+", "-", "*", "/", "LEAST", "GREATEST", "NULLIF"]
    binary += [] if only_sqlite else ["%", "POWER"]

    def numbers(truths: st.SearchStrategy[Any], inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.tuples(st.sampled_from(unary), inner),
            st.tuples(st.sampled_from(binary), inner, inner),
            st.tuples(st.just("COALESCE"), inner, inner, inner),
            st.tuples(st.just("CASE"), truths, inner, truths, inner, st.one_of(inner, st.none())),
        )

    def comparisons(number: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.tuples(st.sampled_from(sorted(COMPARISONS)), number, number),
            st.tuples(st.just("BETWEEN"), number, number, number),
            st.lists(number, min_size=2, max_size=5).map(lambda parts: ("IN", *parts)),
            st.tuples(st.just("IS NULL"), number),
        )

    def larger(truths: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        deep = st.one_of(leaf, numbers(truths, leaf), numbers(truths, numbers(truths, leaf)))
        return st.one_of(
            comparisons(deep),
            st.tuples(st.sampled_from(["AND", "OR"]), truths, truths),
            st.tuples(st.sampled_from(["NOT", "IS NULL", "IS TRUE", "IS FALSE"]), truths),
            st.tuples(st.just("CASE"), truths, truths, truths, truths, truths),
        )

    return st.recursive(st.one_of(comparisons(leaf), comparisons(leaf), st.booleans()), larger, max_leaves=8)


def rows() -> st.SearchStrategy[dict[str, float | None]]:
    return st.fixed_dictionaries({name: st.one_of(grid, grid, st.none()) for name in COLUMNS})


def sql_of(tree: Any) -> str:
    """The tree as SQL."""
    match tree:
        case None:
            return "NULL"
        case bool():
            return str(tree).upper()
        case str():
            return tree
        case float():
            return repr(tree)
    op, *parts = tree
    texts = [sql_of(part) for part in parts]
    if op == "BETWEEN":
        return f"({texts[0]} BETWEEN {texts[1]} AND {texts[2]})"
    if op == "IN":
        return f"({texts[0]} IN ({', '.join(texts[1:])}))"
    if op == "CASE":
        return "CASE WHEN {} THEN {} WHEN {} THEN {} ELSE {} END".format(*texts)
    if op.startswith("IS "):
        return f"({texts[0]} {op})"
    if op.isalpha() and op not in ("AND", "OR", "NOT"):
        return f"{op}({', '.join(texts)})"
    return f"({op} {texts[0]})" if len(texts) == 1 else f"({texts[0]} {op} {texts[1]})"


def value_of(tree: Any, row: Mapping[str, float | None]) -> Any:
    """What the tree is worth for a row: a float, a bool or None."""
    if tree is None or isinstance(tree, bool | float):
        return tree
    if isinstance(tree, str):
        return row[tree]
    op, *parts = tree
    values = [value_of(part, row) for part in parts]
    if op == "AND":
        return False if False in values else None if None in values else True
    if op == "OR":
        return True if True in values else None if None in values else False
    if op == "IS NULL":
        return values[0] is None
    if op in ("IS TRUE", "IS FALSE"):
        return values[0] is (op == "IS TRUE")
    if op == "COALESCE":
        return next((value for value in values if value is not None), None)
    if op == "CASE":
        return values[1] if values[0] is True else values[3] if values[2] is True else values[4]
    if op == "NULLIF":
        return None if values[0] == values[1] else values[0]
    if op == "IN":
        return _among(values)
    if op == "BETWEEN":
        sides = [_strict(operator.ge, values[0], values[1]), _strict(operator.le, values[0], values[2])]
        return False if False in sides else None if None in sides else True
    return _strict(COMPARISONS.get(op) or _FUNCTIONS[op, len(values)], *values)


def _among(values: list[Any]) -> bool | None:
    x, *candidates = values
    if x is None:
        return None
    if x in candidates:
        return True
    return None if None in candidates else False


def _strict(function: Callable[..., Any], *values: Any) -> Any:
    """NULL if any value is, or if the function has none."""
    if None in values:
        return None
    try:
        found = function(*values)
    except OverflowError:
        return math.inf
    return None if isinstance(found, float) and math.isnan(found) else found


def _round(x: float) -> float:
    return math.copysign(float(int(abs(x)) + (abs(x) - int(abs(x)) >= 0.5)), x)


def _power(x: float, y: float) -> float:
    if x == 0 and y < 0:
        return math.inf
    return math.nan if x < 0 and not float(y).is_integer() else x**y


_FUNCTIONS: dict[tuple[str, int], Callable[..., Any]] = {
    ("NOT", 1): operator.not_,
    ("-", 1): operator.neg,
    ("ABS", 1): abs,
    ("SQRT", 1): lambda x: math.nan if x < 0 else math.sqrt(x),
    ("LN", 1): lambda x: math.nan if x <= 0 else math.log(x),
    ("ROUND", 1): _round,
    ("+", 2): operator.add,
    ("-", 2): operator.sub,
    ("*", 2): operator.mul,
    ("/", 2): lambda x, y: math.nan if y == 0 else x / y,
    ("%", 2): lambda x, y: math.nan if y == 0 else math.fmod(x, y),
    ("POWER", 2): _power,
    ("LEAST", 2): min,
    ("GREATEST", 2): max,
}
