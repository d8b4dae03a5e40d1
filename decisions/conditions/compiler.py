"""Compiles SQL conditions to programs of the machine (`machine.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streams.errors import ConfigError

from . import machine
from .names import Input, Names
from .parser import ConditionParser, Expression, constant

_NULL_ASKED = (machine.IS_NULL, machine.SKIP_KNOWN, machine.SKIP_UNLESS)

Instruction = tuple[int, int, float]  # instruction, operand, constant


@dataclass(frozen=True, eq=False)
class Condition:
    """A compiled condition. It holds if `machine.evaluate(code, 0, len(code), constants, values, stack) == 1`.

    inputs: names of the `values`, in their order
    code: int32[n, 2], constants: float64[n]
    depth: length of `stack` (float64)
    """

    sql: str
    inputs: tuple[Input, ...]
    code: NDArray[np.int32]
    constants: NDArray[np.float64]
    depth: int

    @property
    def asks_null(self) -> bool:
        """Whether the condition tells NULL from other values (IS NULL, COALESCE, CASE).

        If it does not, a result that is known while an input is NULL holds for every value of that input.
        """
        return bool(np.isin(self.code[:, 0], _NULL_ASKED).any())


def compile_condition(
    sql: str,
    names: Names,
    where: Callable[[str], ConfigError],
    hash_string: Callable[[str], float],
) -> Condition:
    """Compile `sql`. Raises `where(message)` if it is wrong; `hash_string` gives the number of a string.

    >>> names = Names(views=["order_count"], scores=["churn"], fields=[], kinds=["order"], deadlines=[])
    >>> compile_condition("churn > 0.5 AND order_count >= 3", names, ValueError, float).inputs
    (Input(type='score', name='churn'), Input(type='view', name='order_count'))
    """
    tree = ConditionParser(names, where, hash_string).read(sql)
    try:
        return _assemble(sql, _fold(tree))
    except RecursionError:
        raise where("nested too deeply; expected a condition a person can read") from None


def _assemble(sql: str, tree: Expression) -> Condition:
    emitter = _Emitter({})
    instructions, depth = emitter.emit(tree)
    code = np.array([row[:2] for row in instructions], np.int32)
    constants = np.array([row[2] for row in instructions], np.float64)
    return Condition(sql, tuple(emitter.inputs), code, constants, depth)


def _fold(tree: Expression) -> Expression:
    """Replace a subtree that reads no input by its value. The machine computes it, so there is one arithmetic."""
    if not tree.args:
        return tree
    tree = replace(tree, args=tuple(_fold(arg) for arg in tree.args))
    if any(arg.shape != "constant" for arg in tree.args):
        return tree
    program = _assemble("", tree)
    nothing, stack = np.empty(0), np.empty(program.depth)
    with np.errstate(all="ignore"):
        value = machine.evaluate(program.code, 0, len(program.code), program.constants, nothing, stack)
    return constant(float(value), tree.type)


@dataclass
class _Emitter:
    """Writes the instructions of an expression; each method returns them and the stack depth they need."""

    inputs: dict[Input, int]

    def emit(self, tree: Expression) -> tuple[list[Instruction], int]:
        if tree.shape == "input":
            return [(machine.LOAD, self._index(tree), 0.0)], 1
        if tree.shape == "constant":
            return [(machine.CONSTANT, 0, _number(tree))], 1
        if tree.shape == "compare":
            return self._compare(_outcomes(tree), *tree.args)
        if tree.shape in ("and", "or"):
            return self._logic(tree)
        if tree.shape == "not":
            return self._not(tree.args[0])
        if tree.shape == "between":
            return self._between(*tree.args)
        if tree.shape == "in":
            return self._in(tree)
        if tree.shape == "case":
            return self._case(tree)
        if tree.shape == "coalesce":
            return self._coalesce(tree)
        return self._apply(tree)

    def _index(self, tree: Expression) -> int:
        assert isinstance(tree.value, Input)
        return self.inputs.setdefault(tree.value, len(self.inputs))

    def _compare(self, outcomes: int, left: Expression, right: Expression) -> tuple[list[Instruction], int]:
        if left.shape == "constant" and right.shape == "input":
            left, right, outcomes = right, left, _mirrored(outcomes)
        if left.shape == "input" and right.shape == "constant":
            return [(outcomes, self._index(left), _number(right))], 1
        (a, a_depth), (b, b_depth) = self.emit(left), self.emit(right)
        return [*a, *b, (machine.COMPARE, outcomes, 0.0)], max(a_depth, 1 + b_depth)

    def _logic(self, tree: Expression) -> tuple[list[Instruction], int]:
        (a, a_depth), (b, b_depth) = self.emit(tree.args[0]), self.emit(tree.args[1])
        settled, join = (0.0, machine.AND) if tree.shape == "and" else (1.0, machine.OR)
        skip = (machine.SKIP_IF, len(b) + 1, settled)
        return [*a, skip, *b, (join, 0, 0.0)], max(a_depth, 1 + b_depth)

    def _not(self, truth: Expression) -> tuple[list[Instruction], int]:
        if truth.shape == "compare":
            return self._compare(machine.OUTCOMES - _outcomes(truth), *truth.args)
        rows, depth = self.emit(truth)
        return [(machine.CONSTANT, 0, 1.0), *rows, (machine.SUBTRACT, 0, 0.0)], 1 + depth

    def _between(self, x: Expression, low: Expression, high: Expression) -> tuple[list[Instruction], int]:
        if x.shape in ("input", "constant"):
            above = Expression("compare", "truth", (x, low), machine.GREATER_EQUAL)
            below = Expression("compare", "truth", (x, high), machine.LESS_EQUAL)
            return self._logic(Expression("and", "truth", (above, below)))
        rows, depth = self.emit(x)
        a, a_depth = self._compare_picked(machine.GREATER_EQUAL, 0, low)
        b, b_depth = self._compare_picked(machine.LESS_EQUAL, 1, high)
        joined = [*rows, *a, *b, (machine.AND, 0, 0.0), (machine.NIP, 0, 0.0)]
        return joined, max(depth, 1 + a_depth, 2 + b_depth)

    def _compare_picked(self, outcomes: int, below: int, other: Expression) -> tuple[list[Instruction], int]:
        rows, depth = self.emit(other)
        return [(machine.PICK, below, 0.0), *rows, (machine.COMPARE, outcomes, 0.0)], 1 + depth

    def _in(self, tree: Expression) -> tuple[list[Instruction], int]:
        x, *candidates = tree.args
        simple = x.shape in ("input", "constant")
        start, depth = ([], 0) if simple else self.emit(x)
        tests: list[list[Instruction]] = []
        for i, candidate in enumerate(candidates):
            if simple:
                rows, needed = self._compare(machine.EQUAL, x, candidate)
            else:
                rows, needed = self._compare_picked(machine.EQUAL, min(i, 1), candidate)
            tests.append([*rows, (machine.OR, 0, 0.0)] if i else rows)
            depth = max(depth, needed + 2)
        found = tests.pop()
        for rows in reversed(tests):  # the first equal candidate decides
            found = [*rows, (machine.SKIP_IF, len(found), 1.0), *found]
        return [*start, *found] if simple else [*start, *found, (machine.NIP, 0, 0.0)], depth

    def _case(self, tree: Expression) -> tuple[list[Instruction], int]:
        rows, depth = self.emit(tree.args[-1])
        for i in range(len(tree.args) - 3, -1, -2):
            (test, test_depth), (result, result_depth) = (
                self.emit(tree.args[i]),
                self.emit(tree.args[i + 1]),
            )
            skip, leave = (machine.SKIP_UNLESS, len(result) + 1, 0.0), (machine.SKIP, len(rows), 0.0)
            rows, depth = [*test, skip, *result, leave, *rows], max(depth, test_depth, result_depth)
        return rows, depth

    def _coalesce(self, tree: Expression) -> tuple[list[Instruction], int]:
        rows, depth = self.emit(tree.args[-1])
        for arg in reversed(tree.args[:-1]):
            first, first_depth = self.emit(arg)
            rows = [*first, (machine.SKIP_KNOWN, len(rows), 0.0), *rows]
            depth = max(depth, first_depth)
        return rows, depth

    def _apply(self, tree: Expression) -> tuple[list[Instruction], int]:
        rows: list[Instruction] = []
        depth = 0
        for i, arg in enumerate(tree.args):
            more, needed = self.emit(arg)
            rows, depth = rows + more, max(depth, i + needed)
        assert isinstance(tree.value, int)
        return [*rows, (tree.value, 0, 0.0)], depth


def _number(tree: Expression) -> float:
    assert isinstance(tree.value, float)
    return tree.value


def _outcomes(tree: Expression) -> int:
    assert isinstance(tree.value, int)
    return tree.value


def _mirrored(outcomes: int) -> int:
    """Return the set of outcomes for exchanged operands."""
    less, greater = outcomes & machine.LESS, outcomes & machine.GREATER
    return (outcomes & machine.EQUAL) | (machine.GREATER if less else 0) | (machine.LESS if greater else 0)
