"""How much each expert counts: a logistic regression over their logits, learned online.

The weights are those of a stacking (Wolpert 1992); with the bias they calibrate the score, too (Platt 1999): an expert
that is too sure gets a weight below its share. `models.learning.kalman` learns them, beside a level of each cohort
(`models.learning.cohorts`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.scoring import EXPERTS, mixed

from .cohorts import LARGEST_VARIANCE, Cohorts, CohortsState
from .kalman import step
from .task import Task

_SIZE: Final = 1 + len(EXPERTS) + 1
# Of the bias and of an expert's weight, before the first example and at most; examples of amounts tell less each.
_VARIANCE, _AMOUNTS_VARIANCE = 0.001, 0.1
_MOVE: Final = 1e-7  # what an example adds to them: some ten thousand count
_LARGEST: Final = 1e3


class MixingState(msgspec.Struct, forbid_unknown_fields=True):
    """Plain data from which a mixture goes on bit for bit: the bias, one weight for each expert and the level of the
    cohort at hand, their covariance, row by row, and what cohorts share."""

    weights: list[float]
    spread: list[float]
    cohorts: CohortsState


class Mixture:
    """`weights`: float64[5], the bias, one for each expert and the level of the cohort at hand, which no score has;
    `spread`: float64[5, 5], their covariance."""

    def __init__(self, task: Task, experts: Sequence[str] = EXPERTS) -> None:
        self._task = task
        self._wanted = np.array([float(name in experts) for name in EXPERTS])
        variance = _AMOUNTS_VARIANCE if task.amounts else _VARIANCE
        self._most = np.array(
            [variance, *(variance * self._wanted), 0.0 if task.amounts else LARGEST_VARIANCE]
        )
        self.weights = np.empty(_SIZE)
        self.spread = np.empty((_SIZE, _SIZE))
        self._x, self._shift = np.ones(_SIZE), np.empty(_SIZE)
        self._cohorts = Cohorts()
        self.reset_step_size()

    @property
    def deviation(self) -> float:
        """Of the level of a cohort, a logit; 0 for amounts."""
        return math.sqrt(self._cohorts.variance)

    def logit(self, logits: NDArray[np.float64]) -> float:
        """logits: float64[3], of the experts."""
        return float(mixed(self._scores(), logits[0], logits[1], logits[2], self._task.largest))

    def learn(self, logits: NDArray[np.float64], target: float, due: int, horizon: int) -> None:
        """One step by an example of which the experts said `logits`: float64[3]. It was opened `horizon` ms before it
        was due; examples come in the order in which they are due."""
        task = self._task
        if not task.amounts:
            if self._cohorts.enter(due, horizon):
                self._level(self._cohorts.variance)
            mean = task.mean(self.logit(logits))
            self._cohorts.add(target - mean, mean * (1.0 - mean))
        self._x[1:-1] = logits
        step(
            self.weights, self.spread, self._x, self._shift, self._most, _MOVE, target, task.dispersion, task.largest,
            task.amounts,
        )  # fmt: skip

    def published(self, trees: bool) -> tuple[float, ...]:
        """The bias and three weights as a worker multiplies them: of the linear expert, of the additive one's table,
        and of the trees, for which the mean of the other two experts stands where there are none."""
        bias, linear, additive, third = self._scores().tolist()
        if not trees:
            linear, additive, third = linear + third / 2, additive + third / 2, 0.0
        return bias, linear if self._task.amounts else linear + additive, additive, third

    def reset_step_size(self) -> None:
        """The experts count as at first again, and steps are as large."""
        self.weights[:] = 0.0, *(self._wanted / max(self._wanted.sum(), 1.0)), 0.0
        self._cohorts.clear()
        self.spread[:] = np.diag(self._most)
        self._level(0.0)

    def _level(self, variance: float) -> None:
        """Of the cohort that begins nothing is known but the variance."""
        self.weights[-1] = 0.0
        self.spread[-1, :] = self.spread[:, -1] = 0.0
        self.spread[-1, -1] = variance

    def _scores(self) -> NDArray[np.float64]:
        """Float64[4], the bias and the experts' weights in a score: of a cohort whose level nobody knows yet."""
        return self._cohorts.shrinks * self.weights[:-1]

    def state(self) -> MixingState:
        """Plain data from which `restore` goes on bit for bit."""
        return MixingState(self.weights.tolist(), self.spread.ravel().tolist(), self._cohorts.state())

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
        self._cohorts.restore(state.cohorts)
        self.weights[:], self.spread[:] = weights, spread
