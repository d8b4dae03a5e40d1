"""Parses SQL to a checked expression: it knows every name, checks every type, and refuses what the machine lacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from streams.errors import ConfigError

from . import machine
from .names import EVENT, KIND, Input, Names, suggestion

Type = Literal["number", "truth", "string", "kind", "text", "null"]
Shape = Literal[
    "input", "constant", "compare", "and", "or", "not", "between", "in", "case", "coalesce", "apply"
]

_WORDS: Final[dict[Type, str]] = {
    "number": "a number",
    "truth": "a condition",
    "string": "a string",
    "kind": "the event's kind",
    "text": "a string",
    "null": "NULL",
}
_COMPARISONS: Final[dict[type[exp.Expr], int]] = {
    exp.LT: machine.LESS,
    exp.LTE: machine.LESS_EQUAL,
    exp.GT: machine.GREATER,
    exp.GTE: machine.GREATER_EQUAL,
    exp.EQ: machine.EQUAL,
    exp.NEQ: machine.UNEQUAL,
}
_ARITHMETIC: Final[dict[type[exp.Expr], int]] = {
    exp.Add: machine.ADD,
    exp.Sub: machine.SUBTRACT,
    exp.Mul: machine.MULTIPLY,
    exp.Div: machine.DIVIDE,
    exp.Mod: machine.REMAINDER,
    exp.Pow: machine.POWER,
    exp.Least: machine.LEAST,
    exp.Greatest: machine.GREATEST,
}
_UNARY: Final[dict[type[exp.Expr], int]] = {exp.Abs: machine.ABS, exp.Sqrt: machine.SQRT, exp.Ln: machine.LN}
_FUNCTIONS: Final = ["ABS", "COALESCE", "GREATEST", "IF", "LEAST", "LN", "NULLIF", "POWER", "ROUND", "SQRT"]
_SUPPORTED: Final = (
    "expected comparisons, AND, OR, NOT, BETWEEN, IN, IS NULL, CASE, + - * / % or one of "
    + ", ".join(_FUNCTIONS)
)
# Parts of a node that the parser reads, and parts that do not change its value. It refuses any other part.
_READ: Final = {
    "this",
    "expression",
    "expressions",
    "low",
    "high",
    "ifs",
    "default",
    "true",
    "false",
    "decimals",
}
_MEANINGLESS: Final = {"ignore_nulls", "is_null", "is_nvl", "typed", "safe"}


@dataclass(frozen=True)
class Expression:
    """A node of the checked tree.

    `value` is the Input, the constant (number or text), the outcomes of a comparison or the machine's instruction.
    The arguments of a `case` are condition, result, ..., default.
    """

    shape: Shape
    type: Type
    args: tuple[Expression, ...] = ()
    value: Input | float | str | int = 0.0

    def __str__(self) -> str:
        if self.shape == "constant":
            return repr(self.value) if self.type == "text" else f"{self.value:g}"
        return str(self.value) if self.shape == "input" else "an expression"


def constant(value: float, kind: Type = "number") -> Expression:
    """Return the node of a number, a truth value (1 or 0), a hash or NULL (NaN)."""
    return Expression("constant", kind, (), value)


@dataclass(frozen=True)
class ConditionParser:
    """Parses the SQL at one place of a config file; `where` makes the error that names the place."""

    names: Names
    where: Callable[[str], ConfigError]
    hash_string: Callable[[str], float]

    def read(self, sql: str) -> Expression:
        """Return the checked expression of a condition. Raises the `ConfigError` that says what is wrong."""
        try:
            found = self._lower(self._parse(sql))
        except RecursionError:
            raise self.where("nested too deeply; expected a condition a person can read") from None
        if found.type != "truth":
            raise self.where(
                f"is {_WORDS[found.type]}; expected a condition such as {sql.strip()[:40]} > 0.5"
            )
        return found

    def _parse(self, sql: str) -> exp.Expr:
        if not sql.strip():
            raise self.where("is empty; expected a condition such as churn > 0.5")
        try:
            return sqlglot.parse_one(sql, into=exp.Condition)
        except ParseError as error:
            found: dict[str, Any] = error.errors[0] if error.errors else {"description": str(error)}
            what = re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", found["description"])
            near = found.get("highlight") or ""
            place = f" at column {found['col'] - len(near) + 1}, near {near!r}" if near else ""
        except TokenError as error:
            what, place = str(error.__cause__ or error), ""
        raise self.where(
            f"not valid SQL{place}: {' '.join(what.split())}; expected a condition such as churn > 0.5"
        )

    def _lower(self, node: exp.Expr) -> Expression:
        self._check_parts(node)
        if isinstance(node, exp.Paren):
            return self._lower(node.this)
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Literal):
            return self._literal(node)
        if isinstance(node, exp.Null):
            return constant(machine.NULL, "null")
        if isinstance(node, exp.Boolean):
            return constant(float(node.this), "truth")
        if isinstance(node, exp.And | exp.Or):
            sides = (self._truth(node.this), self._truth(node.expression))
            return Expression("and" if isinstance(node, exp.And) else "or", "truth", sides)
        if isinstance(node, exp.Not):
            return Expression("not", "truth", (self._truth(node.this),))
        if type(node) in _COMPARISONS:
            return self._compare(
                _COMPARISONS[type(node)], self._lower(node.this), self._lower(node.expression)
            )
        if isinstance(node, exp.Between):
            values = self._alike(
                [self._lower(node.args[part]) for part in ("this", "low", "high")], ordered=True
            )
            return Expression("between", "truth", values)
        if isinstance(node, exp.In) and node.expressions:
            values = self._alike([self._lower(part) for part in (node.this, *node.expressions)])
            return Expression("in", "truth", values)
        if isinstance(node, exp.Is):
            return self._is(node)
        if isinstance(node, exp.Case | exp.If):
            return self._case(node)
        if isinstance(node, exp.Nullif):
            left, right = self._lower(node.this), self._lower(node.expression)
            same = self._compare(machine.EQUAL, left, right)
            return Expression("case", same.args[0].type, (same, constant(machine.NULL, "null"), same.args[0]))
        if isinstance(node, exp.Coalesce):
            values = self._alike([self._lower(part) for part in (node.this, *node.expressions)], null=True)
            return Expression("coalesce", _type_of(values), values)
        return self._arithmetic(node)

    def _check_parts(self, node: exp.Expr) -> None:
        if isinstance(node, exp.Column | exp.Literal | exp.Null | exp.Boolean):
            return
        strange = [key for key, part in node.args.items() if part and key not in _READ | _MEANINGLESS]
        if isinstance(node, exp.Query) or node.args.get("query"):
            raise self.where(f"{_text(node)} is a query; {_SUPPORTED}")
        if isinstance(node, exp.AggFunc):
            raise self.where(
                f"{_text(node)} is an aggregate, but a condition sees one customer; {_SUPPORTED}"
            )
        if isinstance(node, exp.Anonymous):
            raise self.where(
                f"unknown function {node.name!r}; {suggestion(node.name.upper(), _FUNCTIONS, _SUPPORTED[9:])}"
            )
        if strange:
            raise self.where(f"{_text(node)} is not supported; {_SUPPORTED}")

    def _column(self, node: exp.Column) -> Expression:
        parts = [part.name for part in node.parts]
        name, found = ".".join(parts), self.names.find(parts)
        if not found and len(parts) == 2 and parts[0] == EVENT:
            fields = [*self.names.fields, KIND]
            near = suggestion(parts[1], fields, f"one of {', '.join(fields)}")
            raise self.where(f"unknown event field {parts[1]!r}; {near}")
        if not found:
            expected = "a column of features.yaml, a model of models.yaml, event.<field> or event.kind"
            raise self.where(f"unknown column {name!r}; {suggestion(name, self.names.all(), expected)}")
        if len(found) > 1:
            raise self.where(f"{name!r} is both a column and a model; expected names that differ")
        if found[0].type == "kind":
            return Expression("input", "kind", (), found[0])
        return Expression("input", "string" if name in self.names.strings else "number", (), found[0])

    def _literal(self, node: exp.Literal) -> Expression:
        if node.is_string:
            return Expression("constant", "text", (), str(node.this))
        number = float(node.this)
        if not isfinite(number):
            raise self.where(f"the number {node.this} is too large; expected less than 1.8e308")
        return constant(number)

    def _truth(self, node: exp.Expr) -> Expression:
        found = self._lower(node)
        if found.type not in ("truth", "null"):
            raise self.where(
                f"{_text(node)} is {_WORDS[found.type]}; expected a condition such as {_text(node)} > 0.5"
            )
        return found

    def _number(self, node: exp.Expr) -> Expression:
        found = self._lower(node)
        if found.type not in ("number", "null"):
            raise self.where(f"{_text(node)} is {_WORDS[found.type]}; expected a number")
        return found

    def _compare(self, outcomes: int, left: Expression, right: Expression) -> Expression:
        ordered = outcomes not in (machine.EQUAL, machine.UNEQUAL)
        return Expression("compare", "truth", self._alike([left, right], ordered=ordered), outcomes)

    def _alike(
        self, values: Sequence[Expression], ordered: bool = False, null: bool = False
    ) -> tuple[Expression, ...]:
        """Give the values one type: a text becomes a hash, or a code where it meets the event's kind."""
        types = {value.type for value in values}
        if "null" in types and not null:
            raise self.where("a comparison with NULL is never true; expected IS NULL or IS NOT NULL")
        types -= {"null"}
        if "text" in types and types <= {"text", "string"}:
            values = [self._hashed(value) for value in values]
        elif types == {"text", "kind"}:
            values = [self._coded(value) for value in values]
        elif len(types) > 1:
            first = next(value for value in values if value.type != "null")
            other = next(value for value in values if value.type not in ("null", first.type))
            sides = " with ".join(f"{_WORDS[side.type]} ({side})" for side in (first, other))
            raise self.where(f"mixes {sides}; expected values of one type")
        if ordered and types - {"number"}:
            raise self.where(
                f"orders {_WORDS[types.pop()]}; only numbers have an order, expected =, <> or IN"
            )
        return tuple(values)

    def _hashed(self, value: Expression) -> Expression:
        return constant(self.hash_string(str(value.value)), "string") if value.type == "text" else value

    def _coded(self, value: Expression) -> Expression:
        if value.type != "text":
            return value
        kinds = list(self.names.kinds)
        if value.value not in kinds:
            near = suggestion(str(value.value), kinds, f"one of {', '.join(kinds)}")
            raise self.where(f"unknown event kind {value.value!r}; {near}")
        return constant(float(kinds.index(str(value.value))), "kind")

    def _is(self, node: exp.Is) -> Expression:
        if isinstance(node.expression, exp.Null):
            return Expression("apply", "truth", (self._lower(node.this),), machine.IS_NULL)
        if not isinstance(node.expression, exp.Boolean):
            raise self.where(f"{_text(node)} is not supported; expected IS NULL, IS TRUE or IS FALSE")
        truth = self._truth(node.this)
        test = truth if node.expression.this else Expression("not", "truth", (truth,))
        return Expression("coalesce", "truth", (test, constant(0.0, "truth")))

    def _case(self, node: exp.Case | exp.If) -> Expression:
        branches = node.args["ifs"] if isinstance(node, exp.Case) else [node]
        conditions = []
        for branch in branches:
            if isinstance(node, exp.If) or node.this is None:
                conditions.append(self._truth(branch.this))
            else:
                conditions.append(
                    self._compare(machine.EQUAL, self._lower(node.this), self._lower(branch.this))
                )
        default = node.args.get("default") or node.args.get("false")
        results = [self._lower(branch.args["true"]) for branch in branches]
        results.append(self._lower(default) if default else constant(machine.NULL, "null"))
        results = list(self._alike(results, null=True))
        args = [part for pair in zip(conditions, results, strict=False) for part in pair]
        return Expression("case", _type_of(results), (*args, results[-1]))

    def _arithmetic(self, node: exp.Expr) -> Expression:
        if type(node) in _ARITHMETIC:
            parts = (
                [node.this, *node.expressions]
                if node.expressions
                else [node.this, node.args.get("expression")]
            )
            values = [self._number(part) for part in parts if part]
            found = values[0]
            for value in values[1:]:
                found = Expression("apply", "number", (found, value), _ARITHMETIC[type(node)])
            return replace(found, type="number")
        if type(node) in _UNARY:
            return Expression("apply", "number", (self._number(node.this),), _UNARY[type(node)])
        if isinstance(node, exp.Neg):
            return Expression("apply", "number", (constant(0.0), self._number(node.this)), machine.SUBTRACT)
        if isinstance(node, exp.Round):
            return self._round(node)
        raise self.where(f"{_text(node)} is not supported; {_SUPPORTED}")

    def _round(self, node: exp.Round) -> Expression:
        value, digits = self._number(node.this), node.args.get("decimals")
        if digits is None:
            return Expression("apply", "number", (value,), machine.ROUND)
        if not (isinstance(digits, exp.Literal) and str(digits.this) in "0123456789"):
            raise self.where(f"{_text(node)}: expected a digit as the number of decimals")
        scale = constant(10.0 ** int(digits.this))
        scaled = Expression("apply", "number", (value, scale), machine.MULTIPLY)
        rounded = Expression("apply", "number", (scaled,), machine.ROUND)
        return Expression("apply", "number", (rounded, scale), machine.DIVIDE)


def _type_of(values: Sequence[Expression]) -> Type:
    return next((value.type for value in values if value.type != "null"), "null")


def _text(node: exp.Expr) -> str:
    text = " ".join(node.sql(comments=False).split())
    return text if len(text) <= 60 else text[:57] + "..."
