"""How much each expert counts: a logistic regression over their logits, learned online.

The weights are those of a stacking (Wolpert 1992); with the bias they calibrate the score, too (Platt 1999): an expert
that is too sure gets a weight below its share. `models.kalman` learns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.kalman import step
from models.scorer import EXPERTS, mixed
from models.task import Task

_SIZE: Final = 1 + len(EXPERTS)
# Of the bias and of an expert's weight, before the first example and at most; examples of amounts tell less each.
_VARIANCE, _AMOUNTS_VARIANCE = 0.001, 0.1
_MOVE: Final = 1e-7  # what an example adds to them: some ten thousand count
_LARGEST: Final = 1e3


class MixingState(msgspec.Struct, forbid_unknown_fields=True):
    """Plain data from which a mixture goes on bit for bit: the bias and one weight for each expert, and their
    covariance, row by row."""

    weights: list[float]
    spread: list[float]


class Mixing:
    """`weights`: float64[4], the bias and one for each expert; `spread`: float64[4, 4], their covariance."""

    def __init__(self, task: Task, experts: Sequence[str] = EXPERTS) -> None:
        self._task = task
        self._wanted = np.array([float(name in experts) for name in EXPERTS])
        variance = _AMOUNTS_VARIANCE if task.amounts else _VARIANCE
        self._most = variance * np.array([1.0, *self._wanted])
        self.weights = np.empty(_SIZE)
        self.spread = np.empty((_SIZE, _SIZE))
        self._x, self._shift = np.ones(_SIZE), np.empty(_SIZE)
        self.quicken()

    def logit(self, logits: NDArray[np.float64]) -> float:
        """logits: float64[3], of the experts."""
        return float(mixed(self.weights, logits[0], logits[1], logits[2], self._task.largest))

    def learn(self, logits: NDArray[np.float64], target: float) -> None:
        """One step by an example of which the experts said `logits`: float64[3]."""
        task = self._task
        self._x[1:] = logits
        step(
            self.weights, self.spread, self._x, self._shift, self._most, _MOVE, target, task.dispersion, task.largest,
            task.amounts,
        )  # fmt: skip

    def published(self, trees: bool) -> tuple[float, ...]:
        """The bias and three weights as a worker multiplies them: of the linear expert, of the additive one's table,
        and of the trees, for which the mean of the other two experts stands where there are none."""
        bias, linear, additive, third = self.weights.tolist()
        if not trees:
            linear, additive, third = linear + third / 2, additive + third / 2, 0.0
        return bias, linear if self._task.amounts else linear + additive, additive, third

    def quicken(self) -> None:
        """The experts count as at first again, and steps are as large."""
        self.weights[0], self.weights[1:] = 0.0, self._wanted / max(self._wanted.sum(), 1.0)
        self.spread[:] = np.diag(self._most)

    def state(self) -> MixingState:
        """Plain data from which `restore` goes on bit for bit."""
        return MixingState(self.weights.tolist(), self.spread.ravel().tolist())

    def restore(self, state: MixingState) -> None:
        """Go on; ValueError where `state` is none of ours."""
        weights, spread = np.array(state.weights), np.array(state.spread)
        if len(weights) != _SIZE or len(spread) != _SIZE * _SIZE:
            raise ValueError(f"{len(weights)} weights of the mixture; expected {_SIZE}")
        spread = spread.reshape(_SIZE, _SIZE)
        if (
            not (np.abs([*state.weights, *state.spread]) <= _LARGEST).all()
            or not (np.diag(spread) >= 0.0).all()
        ):
            raise ValueError("a weight of the mixture or its variance is absurd or no number")
        self.weights[:], self.spread[:] = weights, spread
