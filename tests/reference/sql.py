"""SQL conditions, evaluated by walking the tree that sqlglot makes of them.

A value is None (NULL), a float or a bool. NaN is NULL wherever it comes from; a division by zero too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import sqlglot
from sqlglot import exp

from tests.reference.hashing import hash52

Value = float | bool | None


def parse(text: str) -> exp.Expr:
    return sqlglot.parse_one(text)


def names(tree: exp.Expr) -> list[str]:
    """Every column that the expression reads, such as `last_order`, `order_gap.spread`, `event.amount`."""
    return [_name(column) for column in tree.find_all(exp.Column)]


def is_true(tree: exp.Expr, known: Mapping[str, float]) -> bool:
    """True only: a condition that is NULL does not hold."""
    return _truth(_evaluate(tree, known)) is True


def _name(column: exp.Column) -> str:
    return f"{column.table}.{column.name}" if column.table else column.name


def _null_if_nan(value: float) -> Value:
    return None if math.isnan(value) else value


def _truth(value: Value) -> bool | None:
    return None if value is None else bool(value)


def _and(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _or(a: bool | None, b: bool | None) -> bool | None:
    if a is True or b is True:
        return True
    return None if a is None or b is None else False


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


def _divide(a: float, b: float) -> float:
    return a / b if b != 0 else math.nan


_COMPARE: dict[type[exp.Expr], Callable[[float, float], bool]] = {
    exp.EQ: lambda a, b: a == b,
    exp.NEQ: lambda a, b: a != b,
    exp.GT: lambda a, b: a > b,
    exp.GTE: lambda a, b: a >= b,
    exp.LT: lambda a, b: a < b,
    exp.LTE: lambda a, b: a <= b,
}
_ARITHMETIC: dict[type[exp.Expr], Callable[[float, float], float]] = {
    exp.Add: lambda a, b: a + b,
    exp.Sub: lambda a, b: a - b,
    exp.Mul: lambda a, b: a * b,
    exp.Div: _divide,
}


def _compare(kind: type[exp.Expr], a: Value, b: Value) -> bool | None:
    return None if a is None or b is None else _COMPARE[kind](a, b)


def _evaluate(tree: exp.Expr, known: Mapping[str, float]) -> Value:
    def value(node: exp.Expr) -> Value:
        return _evaluate(node, known)

    match tree:
        case exp.Paren():
            return value(tree.this)
        case exp.Null():
            return None
        case exp.Boolean():
            return bool(tree.this)
        case exp.Literal():
            return hash52(tree.this) if tree.is_string else float(tree.this)
        case exp.Column():
            return _null_if_nan(known[_name(tree)])
        case exp.Neg():
            operand = value(tree.this)
            return None if operand is None else -operand
        case exp.Not():
            return _not(_truth(value(tree.this)))
        case exp.And():
            return _and(_truth(value(tree.this)), _truth(value(tree.expression)))
        case exp.Or():
            return _or(_truth(value(tree.this)), _truth(value(tree.expression)))
        case exp.Is():
            found, wanted = value(tree.this), value(tree.expression)
            if wanted is None:
                return found is None
            return _truth(found) is _truth(wanted)
        case exp.Between() if not tree.args.get("symmetric"):
            low = _compare(exp.GTE, value(tree.this), value(tree.args["low"]))
            high = _compare(exp.LTE, value(tree.this), value(tree.args["high"]))
            return _and(low, high)
        case exp.In():
            among: bool | None = False
            for item in tree.expressions:
                among = _or(among, _compare(exp.EQ, value(tree.this), value(item)))
            return among
        case exp.Coalesce():
            options = [value(node) for node in (tree.this, *tree.expressions)]
            return next((option for option in options if option is not None), None)
        case exp.Case():
            return _case(tree, value)
        case exp.If():
            chosen = tree.args["true"] if _truth(value(tree.this)) else tree.args.get("false")
            return None if chosen is None else value(chosen)
        case exp.Nullif():
            same = _compare(exp.EQ, value(tree.this), value(tree.expression))
            return None if same else value(tree.this)
        case exp.Abs():
            operand = value(tree.this)
            return None if operand is None else abs(operand)
        case exp.Least() | exp.Greatest():
            every = [value(node) for node in (tree.this, *tree.expressions)]
            if any(one is None for one in every):
                return None
            numbers = [one for one in every if one is not None]
            return min(numbers) if isinstance(tree, exp.Least) else max(numbers)
    if type(tree) in _COMPARE:
        return _compare(type(tree), value(tree.this), value(tree.expression))
    if type(tree) in _ARITHMETIC:
        a, b = value(tree.this), value(tree.expression)
        return None if a is None or b is None else _null_if_nan(_ARITHMETIC[type(tree)](a, b))
    raise ValueError(f"not known in a condition: {tree.sql()}")


def _case(tree: exp.Case, value: Callable[[exp.Expr], Value]) -> Value:
    for branch in tree.args["ifs"]:
        if tree.this is not None:
            holds = _compare(exp.EQ, value(tree.this), value(branch.this))
        else:
            holds = _truth(value(branch.this))
        if holds:
            return value(branch.args["true"])
    default = tree.args.get("default")
    return None if default is None else value(default)
