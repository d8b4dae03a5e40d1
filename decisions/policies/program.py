"""Lays all policies out as flat arrays, which the pass walks for each event and each deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from decisions.conditions import Condition, Input, Names, machine

from .policy import DEADLINE, Policy

VIEW, SCORE, FIELD, KIND = range(4)  # the values of `Program.input_type`
_TYPES: Final = {"view": VIEW, "score": SCORE, "field": FIELD, "kind": KIND}

Offsets = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class PolicyProgram:
    """The p policies in the order of the file, then g other conditions, as arrays for the kernels.

    For an event of kind k the pass takes each policy q of `kind_policy[kind_start[k]:kind_start[k + 1]]`
    (for a deadline it uses `deadline_start` and `deadline_policy`; both lists keep the order of the file).
    For the j-th i of `range(input_start[q], input_start[q + 1])` it sets `values[j]` to the input that
    `input_type[i]` and `input_index[i]` name. On these values it evaluates `code[exit_start[q]:exit_stop[q]]`,
    unless that is empty, then `code[when_start[q]:when_stop[q]]`.

    code: int32[n, 2], constants: float64[n]: see `decisions.conditions.machine`
    when_start, when_stop, exit_start, exit_stop: int32[p + g]; without an exit, start = stop
    cooldown_ms: float64[p]
    input_start: int32[p + g + 1]; input_type, input_index: int32[m]: VIEW, SCORE or FIELD and its index in
        `Names`, or KIND and 0 (the value is the kind's index, NaN for a deadline)
    scored: uint8[p + g]: 1 if it reads a score
    asks_null: uint8[p + g]: see `Condition.asks_null`
    kind_start: int32[kinds + 1], kind_policy: int32[...]
    deadline_start: int32[deadlines + 1], deadline_policy: int32[...]
    inputs: names of each policy's values, for receipts
    depth: length of the stack, width: length of the values; both at least 1
    """

    policies: tuple[Policy, ...]
    code: NDArray[np.int32]
    constants: NDArray[np.float64]
    when_start: Offsets
    when_stop: Offsets
    exit_start: Offsets
    exit_stop: Offsets
    cooldown_ms: NDArray[np.float64]
    input_start: Offsets
    input_type: Offsets
    input_index: Offsets
    scored: NDArray[np.uint8]
    asks_null: NDArray[np.uint8]
    kind_start: Offsets
    kind_policy: Offsets
    deadline_start: Offsets
    deadline_policy: Offsets
    inputs: tuple[tuple[Input, ...], ...]
    depth: int
    width: int

    @classmethod
    def build(
        cls, policies: Sequence[Policy], names: Names, others: Sequence[Condition] = ()
    ) -> PolicyProgram:
        """Concatenate the policies' conditions, then the `others`. `names` must be those they were read with."""
        code, constants = [np.empty((0, 2), np.int32)], [np.empty(0)]
        spans: list[list[int]] = []
        inputs: list[tuple[Input, ...]] = []
        length = 0
        pairs = [*((policy.when, policy.exit) for policy in policies), *((other, None) for other in others)]
        every = [[condition for condition in pair if condition is not None] for pair in pairs]
        for pair, conditions in zip(pairs, every, strict=True):
            read = tuple(dict.fromkeys(i for condition in conditions for i in condition.inputs))
            span = []
            for condition in pair:
                start = length
                if condition is not None:
                    code.append(_renumbered(condition, read))
                    constants.append(condition.constants)
                    length += len(condition.code)
                span += [start, length]
            spans.append(span)
            inputs.append(read)
        bounds = np.array(spans, np.int32).reshape(-1, 4).T.copy()
        kind_start, kind_policy = _listed(policies, names.kinds)
        deadline_start, deadline_policy = _listed(policies, [DEADLINE + column for column in names.deadlines])
        return cls(
            policies=tuple(policies),
            code=np.concatenate(code),
            constants=np.concatenate(constants),
            when_start=bounds[0],
            when_stop=bounds[1],
            exit_start=bounds[2],
            exit_stop=bounds[3],
            cooldown_ms=np.array([policy.cooldown_ms for policy in policies]),
            input_start=_starts([len(read) for read in inputs]),
            input_type=np.array([_TYPES[i.type] for read in inputs for i in read], np.int32),
            input_index=np.array([names.index(i) for read in inputs for i in read], np.int32),
            scored=np.array([any(i.type == "score" for i in read) for read in inputs], np.uint8),
            asks_null=np.array([any(c.asks_null for c in conditions) for conditions in every], np.uint8),
            kind_start=kind_start,
            kind_policy=kind_policy,
            deadline_start=deadline_start,
            deadline_policy=deadline_policy,
            inputs=tuple(inputs),
            depth=max([1, *(condition.depth for conditions in every for condition in conditions)]),
            width=max([1, *(len(read) for read in inputs)]),
        )


def _renumbered(condition: Condition, inputs: tuple[Input, ...]) -> NDArray[np.int32]:
    """Return the condition's code with operands that index the policy's `inputs` in place of its own."""
    code = condition.code.copy()
    reads = code[:, 0] <= machine.LOAD
    place = np.array([inputs.index(i) for i in condition.inputs], np.int32)
    code[reads, 1] = place[code[reads, 1]]
    return code


def _starts(lengths: Sequence[int]) -> Offsets:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _listed(policies: Sequence[Policy], causes: Sequence[str]) -> tuple[Offsets, Offsets]:
    """Return the policies that name each cause, as (starts, policies)."""
    lists = [[q for q, policy in enumerate(policies) if cause in policy.on] for cause in causes]
    return _starts([len(found) for found in lists]), np.array([q for found in lists for q in found], np.int32)
