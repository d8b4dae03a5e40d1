"""An additive expert: the linear one, and a weight for each bin of each feature, hashed into one table.

The table learns what the linear expert leaves, so that the effect of a feature may have any shape (Hastie and
Tibshirani 1986). Of amounts it stands alone: where customers come to spend much more, the linear expert goes astray for
a thousand examples, and two of three would with it. A regression over indicators by stochastic gradient steps,
AdaGrad's (Duchi, Hazan and Singer 2011), one rate for each cell. A twentieth of the cost of the same in dictionaries,
which is why it is a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scoring import CELLS, additive, cell, seeds
from streams.kernels import kernel

_SHRINKAGE: Final = 1e-3  # towards 0, for cells that few examples fall into
_LARGEST: Final = 1e6


class Additive:
    """Learns by example; `table`: float32[CELLS], what a snapshot holds."""

    def __init__(self, features: Sequence[str], *, rate: float) -> None:
        self.seeds = seeds(features).reshape(1, -1)
        self.table = np.zeros((1, CELLS), np.float32)
        self.squares = np.ones(CELLS, np.float32)
        self._rate = rate

    def correction(self, x: NDArray[np.float64]) -> float:
        """What is added to the linear expert's logit; of amounts, a logit of its own. x: float64[F]."""
        return float(additive(x, 0, self.seeds, self.table))

    def learn(self, x: NDArray[np.float64], slope: float) -> None:
        """One step against `slope`, the derivative of the loss by the logit, the linear expert's in it."""
        _step(x, self.seeds[0], self.table[0], self.squares, slope, self._rate, _SHRINKAGE)

    def reset_step_size(self) -> None:
        """The world has changed: steps are as large as at first."""
        self.squares[:] = 1.0

    def restore(self, table: NDArray[np.float32], squares: NDArray[np.float32]) -> None:
        """Go on from these; ValueError where they are none of ours."""
        if len(table) != CELLS or len(squares) != CELLS:
            raise ValueError(f"a table of {len(table)} and {len(squares)} cells; expected {CELLS}")
        if not (np.abs(table) <= _LARGEST).all() or not ((squares >= 1.0) & np.isfinite(squares)).all():
            raise ValueError("a cell is absurd or no number")
        self.table[0], self.squares[:] = table, squares


@kernel
def _step(
    x: NDArray[np.float64],
    seeds: NDArray[np.int64],
    table: NDArray[np.float32],
    squares: NDArray[np.float32],
    slope: float,
    rate: float,
    shrinkage: float,
) -> None:
    for f in range(len(x)):
        if seeds[f] == 0:
            continue
        place = cell(x[f], seeds[f])
        squares[place] += np.float32(slope * slope)
        step = rate * (slope + shrinkage * table[place]) / np.sqrt(np.float64(squares[place]))
        table[place] -= np.float32(step)
