"""How much each expert counts: a logistic regression over their logits, learned online.

The weights are those of a stacking (Wolpert 1992), learned by AdaGrad; with the bias they calibrate the score, too
(Platt 1999): an expert that is too sure gets a weight below its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.kernel import kernel
from models.scorer import EXPERTS, logistic, mixed

_RATE: Final = 0.02
_LARGEST: Final = 1e3


class Mixing:
    """`weights`: float64[4], the bias and one for each expert."""

    def __init__(self, experts: Sequence[str] = EXPERTS) -> None:
        self._wanted = np.array([1.0, *(float(name in experts) for name in EXPERTS)])
        self.weights = np.empty(4)
        self.squares = np.empty(4)
        self.quicken()

    def logit(self, logits: NDArray[np.float64]) -> float:
        """logits: float64[3], of the experts."""
        return float(mixed(self.weights, logits[0], logits[1], logits[2]))

    def learn(self, logits: NDArray[np.float64], label: float) -> None:
        """One step after the score was given."""
        _step(self.weights, self.squares, self._wanted, logits, label, _RATE)

    def quicken(self) -> None:
        """All experts count the same again, and steps are as large as at first."""
        self.weights[:] = self._wanted / max(1.0, self._wanted[1:].sum())
        self.weights[0] = 0.0
        self.squares[:] = 1.0

    def restore(self, weights: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        """Go on from these; ValueError where they are none of ours."""
        if len(weights) != 4 or len(squares) != 4:
            raise ValueError(f"a mixture of {len(weights)} weights; expected 4")
        if not (np.abs(weights) <= _LARGEST).all() or not ((squares >= 1.0) & np.isfinite(squares)).all():
            raise ValueError("a weight of the mixture is absurd or no number")
        self.weights[:], self.squares[:] = weights, squares


@kernel
def _step(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    wanted: NDArray[np.float64],
    logits: NDArray[np.float64],
    label: float,
    rate: float,
) -> None:
    slope = logistic(mixed(weights, logits[0], logits[1], logits[2])) - label
    for place in range(4):
        gradient = slope * wanted[place] * (1.0 if place == 0 else logits[place - 1])
        squares[place] += gradient * gradient
        weights[place] -= rate * gradient / np.sqrt(squares[place])
