"""How much each expert counts: a logistic regression over their logits, learned online.

The weights are those of a stacking (Wolpert 1992); with the bias they calibrate the score, too (Platt 1999): an expert
that is too sure gets a weight below its share. They are learned as by Penny and Roberts 1999 (Dynamic logistic
regression): a Kalman filter over weights that move a little with every example, linearised where the score is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.kernel import kernel
from models.scorer import EXPERTS, LARGEST_LOGIT, mixed

_SIZE: Final = 1 + len(EXPERTS)
_VARIANCE: Final = 0.25  # of a weight before the first example
_MOVE: Final = 1e-7  # what an example adds to it: some ten thousand count
_START: Final = {"linear": 0.1, "additive": 0.1, "trees": 0.8}  # of the weight, before the first example
_LARGEST: Final = 1e3


class Mixing:
    """`weights`: float64[4], the bias and one for each expert; `spread`: float64[4, 4], their covariance.

    `bias_only`: the experts keep the weights that they have at first, and the bias alone is learned.
    """

    def __init__(
        self, experts: Sequence[str] = EXPERTS, largest: float = LARGEST_LOGIT, *, bias_only: bool = False
    ) -> None:
        self._largest = largest
        self._wanted = np.array([1.0, *(float(name in experts) for name in EXPERTS)])
        self._moving = self._wanted * [1.0, *[float(not bias_only)] * len(EXPERTS)]
        self.weights = np.empty(_SIZE)
        self.spread = np.empty((_SIZE, _SIZE))
        self.quicken()

    def logit(self, logits: NDArray[np.float64]) -> float:
        """logits: float64[3], of the experts."""
        return float(mixed(self.weights, logits[0], logits[1], logits[2], self._largest))

    def learn(self, logits: NDArray[np.float64], error: float, information: float) -> None:
        """One step after the score was given: by how far the target was above what was expected, and how much an
        example with this expectation tells (see `models.task`)."""
        _step(self.weights, self.spread, self._moving, logits, error, information)

    def quicken(self) -> None:
        """The experts count as at first again, and steps are as large."""
        self.weights[:] = self._wanted * [0.0, *(_START[name] for name in EXPERTS)]
        self.weights /= max(self.weights.sum(), 0.1)
        self.spread[:] = np.diag(_VARIANCE * self._moving)

    def restore(self, weights: NDArray[np.float64], spread: NDArray[np.float64]) -> None:
        """Go on from these; ValueError where they are none of ours."""
        if len(weights) != _SIZE or len(spread) != _SIZE * _SIZE:
            raise ValueError(f"a mixture of {len(weights)} weights; expected {_SIZE}")
        if not (np.abs(weights) <= _LARGEST).all() or not (np.abs(spread) <= _LARGEST).all():
            raise ValueError("a weight of the mixture is absurd or no number")
        spread = spread.reshape(_SIZE, _SIZE)
        if not (np.diag(spread) >= 0.0).all():
            raise ValueError("a variance of the mixture is below 0")
        self.weights[:], self.spread[:] = weights, spread


@kernel
def _step(
    weights: NDArray[np.float64],
    spread: NDArray[np.float64],
    moving: NDArray[np.float64],
    logits: NDArray[np.float64],
    error: float,
    information: float,
) -> None:
    for i in range(_SIZE):
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
