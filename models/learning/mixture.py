"""The mixture of the experts: a logistic regression over their logits, learned online (stacking, Wolpert 1992).

With the bias, the weights also calibrate the score (Platt 1999): an overconfident expert gets less than its share.
`models.learning.kalman` learns them, together with the level of each cohort (`models.learning.cohorts`).
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
# The variance of the bias and of an expert's weight, before the first example and at most. An example of an amount
# tells less.
_VARIANCE, _AMOUNTS_VARIANCE = 0.001, 0.1
_MOVE: Final = 1e-7  # each example adds so much to the variances: some ten thousand examples count
_LARGEST: Final = 1e3


class MixingState(msgspec.Struct, forbid_unknown_fields=True):
    """Plain data from which a mixture continues bit for bit.

    `weights`: the bias, a weight for each expert and the level of the current cohort; `spread`: their covariance, row
    after row.
    """

    weights: list[float]
    spread: list[float]
    cohorts: CohortsState


class Mixture:
    """The regression. `weights`: float64[5], the bias, a weight for each expert and the level of the current cohort.

    The level is not part of any score. `spread`: float64[5, 5], the covariance of the weights.
    """

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
        """Return the standard deviation of the level of a cohort, a logit; 0 for amounts."""
        return math.sqrt(self._cohorts.variance)

    def logit(self, logits: NDArray[np.float64]) -> float:
        """Return the logit of the mixture; logits: float64[3], those of the experts."""
        return float(mixed(self._scores(), logits[0], logits[1], logits[2], self._task.largest))

    def learn(self, logits: NDArray[np.float64], target: float, due: int, horizon: int) -> None:
        """Take one step by an example to which the experts gave `logits`: float64[3].

        It was opened `horizon` ms before it was due. Examples come in the order in which they are due.
        """
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
        """Return the bias and the weights of the linear expert, of the table and of the trees, as a worker uses them.

        If there are no trees, the mean of the other two experts stands for them.
        """
        bias, linear, additive, third = self._scores().tolist()
        if not trees:
            linear, additive, third = linear + third / 2, additive + third / 2, 0.0
        return bias, linear if self._task.amounts else linear + additive, additive, third

    def reset_step_size(self) -> None:
        """After a drift: make weights and step sizes what they were at first."""
        self.weights[:] = 0.0, *(self._wanted / max(self._wanted.sum(), 1.0)), 0.0
        self._cohorts.clear()
        self.spread[:] = np.diag(self._most)
        self._level(0.0)

    def _level(self, variance: float) -> None:
        """Begin a cohort: its level is 0 with this variance, independent of the weights."""
        self.weights[-1] = 0.0
        self.spread[-1, :] = self.spread[:, -1] = 0.0
        self.spread[-1, -1] = variance

    def _scores(self) -> NDArray[np.float64]:
        """Return float64[4], bias and weights for a score, as the mean over the unknown level of its cohort."""
        return self._cohorts.shrinks * self.weights[:-1]

    def state(self) -> MixingState:
        """Return plain data from which `restore` continues bit for bit."""
        return MixingState(self.weights.tolist(), self.spread.ravel().tolist(), self._cohorts.state())

    def restore(self, state: MixingState) -> None:
        """Continue from a state; raise ValueError if `state` is not valid."""
        weights, spread = np.array(state.weights), np.array(state.spread)
        if len(weights) != _SIZE or len(spread) != _SIZE * _SIZE:
            raise ValueError(f"{len(weights)} weights of the mixture; expected {_SIZE}")
        spread = spread.reshape(_SIZE, _SIZE)
        if (
            not (np.abs([*state.weights, *state.spread]) <= _LARGEST).all()
            or not (np.diag(spread) >= 0.0).all()
        ):
            raise ValueError("a weight of the mixture or its variance is too large or not a number")
        self._cohorts.restore(state.cohorts)
        self.weights[:], self.spread[:] = weights, spread
