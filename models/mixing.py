"""How much each expert counts: a logistic regression over their logits, learned online.

The weights are those of a stacking (Wolpert 1992); with the bias they calibrate the score, too (Platt 1999): an expert
that is too sure gets a weight below its share. They are learned as by Penny and Roberts 1999 (Dynamic logistic
regression): a Kalman filter, linearised where the score is.

The bias moves from horizon to horizon, as much as it has been seen to (Jazwinski 1969, Adaptive filtering): not at all
where customers decide one by one, far where examples come in waves, each of one campaign. What is learned of the
experts within a wave is then learned beside what the wave has in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.scorer import EXPERTS, mixed
from models.task import Task
from streams.kernel import kernel

_SIZE: Final = 1 + len(EXPERTS)
_BIAS_VARIANCE: Final = 0.25  # before the first example, and at most
_VARIANCE: Final = 0.001  # of an expert's weight, before the first example
_MOVE: Final = 1e-7  # what an example adds to it: some ten thousand count
_BIAS_MOVE: Final = 0.1  # what a horizon adds to the bias's variance, before any was seen
_LARGEST_MOVE: Final = 1.0
_HORIZONS: Final = 20  # so many count for how far the bias moves
_LARGEST: Final = 1e3
_LARGEST_SUM: Final = 1e15


class MixingState(msgspec.Struct, forbid_unknown_fields=True):
    """Plain data from which a mixture goes on bit for bit.

    `weights`: the bias and one for each expert; `spread`: their covariance, row by row; `move`: what a horizon adds to
    the variance of the bias, by `horizons` that were seen. Of the horizon under way, which ends at `end` (ms since the
    epoch): `bias` and `variance` of the bias at its start, and by that bias the sum of all errors and their
    information.
    """

    weights: list[float]
    spread: list[float]
    move: float = _BIAS_MOVE
    horizons: int = 0
    end: int = 0
    bias: float = 0.0
    variance: float = 0.0
    error: float = 0.0
    information: float = 0.0


class Mixing:
    """`weights`: float64[4], the bias and one for each expert; `spread`: float64[4, 4], their covariance."""

    def __init__(self, task: Task, experts: Sequence[str] = EXPERTS) -> None:
        self._task = task
        self._wanted = np.array([float(name in experts) for name in EXPERTS])
        self._moving = np.array([1.0, *self._wanted])
        self.weights = np.empty(_SIZE)
        self.spread = np.empty((_SIZE, _SIZE))
        self.quicken()

    def logit(self, logits: NDArray[np.float64]) -> float:
        """logits: float64[3], of the experts."""
        return float(mixed(self.weights, logits[0], logits[1], logits[2], self._task.largest))

    def learn(self, logits: NDArray[np.float64], target: float, due: int, horizon: int) -> None:
        """One step by an example that fell due at `due` (ms since the epoch), `horizon` ms after it opened, and of
        which the experts said `logits`: float64[3]."""
        task, now = self._task, self._now
        if due >= now.end:
            self._move(due + horizon)
        logit = self.logit(logits)
        mean = task.mean(logit)
        by_then = task.mean(logit - self.weights[0] + now.bias)
        now.error += target - by_then
        now.information += task.information(by_then)
        _step(self.weights, self.spread, self._moving, logits, target - mean, task.information(mean))

    def quicken(self) -> None:
        """The experts count as at first again, and steps are as large."""
        self.weights[0], self.weights[1:] = 0.0, self._wanted / max(self._wanted.sum(), 1.0)
        self.spread[:] = np.diag(self._moving * [_BIAS_VARIANCE, *[_VARIANCE] * len(EXPERTS)])
        self._now = MixingState([], [])

    def state(self) -> MixingState:
        """Plain data from which `restore` goes on bit for bit."""
        weights, spread = self.weights.tolist(), self.spread.ravel().tolist()
        return msgspec.structs.replace(self._now, weights=weights, spread=spread)

    def restore(self, state: MixingState) -> None:
        """Go on; ValueError where `state` is none of ours."""
        weights, spread = np.array(state.weights), np.array(state.spread)
        if len(weights) != _SIZE or len(spread) != _SIZE * _SIZE:
            raise ValueError(f"{len(weights)} weights of the mixture; expected {_SIZE}")
        spread = spread.reshape(_SIZE, _SIZE)
        small = [*state.weights, *state.spread, state.move, state.bias, state.variance]
        if not (np.abs(small) <= _LARGEST).all() or not (np.diag(spread) >= 0.0).all():
            raise ValueError("a weight of the mixture or its variance is absurd or no number")
        sums = (state.error, state.information, state.end, state.horizons)
        if not all(abs(one) <= _LARGEST_SUM for one in sums) or min(state.information, state.horizons) < 0:
            raise ValueError("a sum of the mixture is absurd or no number")
        self.weights[:], self.spread[:] = weights, spread
        self._now = msgspec.structs.replace(state, weights=[], spread=[])

    def _move(self, end: int) -> None:
        """A horizon ends, and one that lasts until `end` begins."""
        now, move, horizons = self._now, self._now.move, self._now.horizons
        if now.information > 0.0:
            # the squared error of the bias, less what chance and its own variance explain
            seen = (now.error / now.information) ** 2 - 1.0 / now.information - now.variance
            horizons += 1
            move += (max(min(seen, _LARGEST_MOVE), -_LARGEST_MOVE) - move) / min(horizons + 1, _HORIZONS)
        room = max(_BIAS_VARIANCE - self.spread[0, 0], 0.0)
        self.spread[0, 0] += min(max(move, 0.0), room)
        bias, variance = float(self.weights[0]), float(self.spread[0, 0])
        self._now = MixingState([], [], move, horizons, end, bias, variance)


@kernel
def _step(
    weights: NDArray[np.float64],
    spread: NDArray[np.float64],
    moving: NDArray[np.float64],
    logits: NDArray[np.float64],
    error: float,
    information: float,
) -> None:
    for i in range(1, _SIZE):
        spread[i, i] += _MOVE * moving[i]
    # spread x, and 1 / information + x spread x
    s0 = s1 = s2 = s3 = 0.0
    total = 1.0 / information
    for j in range(_SIZE):
        x = 1.0 if j == 0 else logits[j - 1]
        s0 += spread[0, j] * x
        s1 += spread[1, j] * x
        s2 += spread[2, j] * x
        s3 += spread[3, j] * x
    total += s0 + s1 * logits[0] + s2 * logits[1] + s3 * logits[2]
    for i in range(_SIZE):
        left = s0 if i == 0 else s1 if i == 1 else s2 if i == 2 else s3
        for j in range(_SIZE):
            right = s0 if j == 0 else s1 if j == 1 else s2 if j == 2 else s3
            spread[i, j] -= left * right / total
        # the gain: (spread - s s' / total) x = s / (information total)
        weights[i] += left / (information * total) * error
