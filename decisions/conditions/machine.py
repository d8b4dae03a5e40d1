"""The stack machine that evaluates compiled conditions: postfix programs over a policy's inputs.

A truth value is a number: 1 is true, 0 false, NaN NULL (SQL's unknown). So three-valued logic needs no flags,
and NULL propagates through arithmetic by itself.

A program is two parallel arrays: `code: int32[n, 2]` has rows of (instruction, operand), `constants: float64[n]`
the number that the instruction needs (0 if none). Jumps are relative and inputs are numbered within their policy,
so programs can be concatenated without a change to either.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

NULL: Final = np.nan

# A comparison is the set of outcomes (bits) that make it true. With NULL there is no outcome.
LESS, EQUAL, LESS_EQUAL, GREATER, UNEQUAL, GREATER_EQUAL = range(1, 7)
OUTCOMES: Final = 7

# Instructions 1 to 6 compare inputs[operand] with the constant. Nearly every condition consists of these, and
# one instruction in place of three saves half the time.
LOAD = 7  # push inputs[operand]
CONSTANT = 8  # push the constant
COMPARE = 9  # compare the two topmost values; the operand is a set of outcomes
AND = 10
OR = 11
SKIP_IF = (
    12  # keep the top and jump by the operand if it equals the constant: x AND y needs no y if x is false
)
SKIP_KNOWN = 13  # keep the top and jump if it is not NULL, else drop it: COALESCE
SKIP_UNLESS = 14  # drop the top, and jump by the operand unless it was true: CASE WHEN
SKIP = 15  # jump by the operand
PICK = 16  # push a copy of the value `operand` below the top: BETWEEN and IN read their first value several times
NIP = 17  # drop the value below the top
ADD, SUBTRACT, MULTIPLY, DIVIDE, REMAINDER, POWER, LEAST, GREATEST = range(18, 26)
IS_NULL, ABS, SQRT, LN, ROUND = range(26, 31)

_options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**_options)
def _compare(outcomes: int, a: float, b: float) -> float:
    outcome = LESS * (a < b) + EQUAL * (a == b) + GREATER * (a > b)
    if outcome == 0:
        return NULL
    return 1.0 if outcomes & outcome else 0.0


@njit(**_options)
def _binary(op: int, a: float, b: float) -> Any:
    """Apply a binary operator. A result that is undefined (x / 0, x % 0, (-8) ^ 0.5) is NULL."""
    if op == ADD:
        return a + b
    if op == SUBTRACT:
        return a - b
    if op == MULTIPLY:
        return a * b
    if op == DIVIDE:
        return NULL if b == 0.0 else a / b
    if op == REMAINDER:  # the sign of the dividend, as in SQL
        return NULL if b == 0.0 else np.fmod(a, b)
    if a != a or b != b:  # IEEE has NaN^0 = 1^NaN = 1
        return NULL
    if op == POWER:
        return np.power(a, b)
    return min(a, b) if op == LEAST else max(a, b)


@njit(**_options)
def _unary(op: int, a: float) -> Any:
    """Apply a function of one number. A result that is undefined (LN of 0, SQRT of a negative) is NULL."""
    if op == IS_NULL:
        return 1.0 if a != a else 0.0
    if op == ABS:
        return abs(a)
    if op == SQRT:
        return NULL if a < 0.0 else np.sqrt(a)
    if op == LN:
        return NULL if a <= 0.0 else np.log(a)
    whole = np.trunc(a)  # ROUND: halves away from zero; adding 0.5 first would round 0.49999999999999994 up
    return whole + np.copysign(1.0, a) if abs(a - whole) >= 0.5 else whole


@njit(**_options)
def evaluate(code: Any, start: int, stop: int, constants: Any, inputs: Any, stack: Any) -> Any:
    """Run the program in `code[start:stop]` and return its value; a condition holds if that is 1.

    code: int32[n, 2], constants: float64[n], inputs: float64[the policy's inputs, or more],
    stack: float64[the program's depth, or more], overwritten. A variable holds the top of the stack, so
    that a value passed to the next instruction does not travel through memory.

    >>> code, constants = np.array([[GREATER, 0], [IS_NULL, 0]], np.int32), np.array([0.5, 0.0])
    >>> evaluate(code, 0, 1, constants, np.array([0.7]), np.empty(1))  # inputs[0] > 0.5
    1.0
    >>> evaluate(code, 0, 2, constants, np.array([np.nan]), np.empty(1))  # (inputs[0] > 0.5) IS NULL
    1.0
    """
    top, size, i = 0.0, -1, start
    while i < stop:
        op, operand = code[i, 0], code[i, 1]
        if op <= CONSTANT:
            if size >= 0:
                stack[size] = top
            size += 1
            if op == LOAD:
                top = inputs[operand]
            elif op == CONSTANT:
                top = constants[i]
            else:
                top = _compare(op, inputs[operand], constants[i])
        elif op == COMPARE:
            size -= 1
            top = _compare(operand, stack[size], top)
        elif op == AND:
            size -= 1
            top = 0.0 if stack[size] == 0.0 or top == 0.0 else stack[size] * top
        elif op == OR:
            size -= 1
            top = 1.0 if stack[size] == 1.0 or top == 1.0 else stack[size] + top
        elif op == SKIP_IF:
            if top == constants[i]:
                i += operand
        elif op >= IS_NULL:
            top = _unary(op, top)
        elif op >= ADD:
            size -= 1
            top = _binary(op, stack[size], top)
        elif op == PICK:
            stack[size] = top
            size += 1
            top = stack[size - 1 - operand]
        elif op == NIP:
            size -= 1
        elif op == SKIP:
            i += operand
        else:  # SKIP_KNOWN, SKIP_UNLESS
            known, value = top == top, top
            if op == SKIP_UNLESS or not known:
                size -= 1
                if size >= 0:
                    top = stack[size]
            if (op == SKIP_KNOWN and known) or (op == SKIP_UNLESS and value != 1.0):
                i += operand
        i += 1
    return top
