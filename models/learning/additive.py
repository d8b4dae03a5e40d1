"""The additive expert: the linear one plus a weight for each bin of each feature, hashed into one table.

The table learns the residual of the linear expert, so that the effect of a feature may have any shape (Hastie and
Tibshirani 1986). For amounts the table stands alone: when customers begin to spend much more, the linear expert is
wrong for a thousand examples, and with it two experts of three would be. The table is a regression over indicators,
learned by AdaGrad (Duchi, Hazan and Singer 2011) with one rate for each cell. It is a kernel because that costs a
twentieth of the same in dictionaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scoring import CELLS, additive, cell, seeds
from streams.kernels import kernel

_SHRINKAGE: Final = 1e-3  # towards 0, for cells with few examples
_LARGEST: Final = 1e6


class Additive:
    """The expert that learns. `table`: float32[1, CELLS], published in snapshots."""

    def __init__(self, features: Sequence[str], *, rate: float) -> None:
        self.seeds = seeds(features).reshape(1, -1)
        self.table = np.zeros((1, CELLS), np.float32)
        self.squares = np.ones(CELLS, np.float32)
        self._rate = rate

    def correction(self, x: NDArray[np.float64]) -> float:
        """Return the term to add to the linear expert's logit; for amounts, a logit of its own. x: float64[F]."""
        return float(additive(x, 0, self.seeds, self.table))

    def learn(self, x: NDArray[np.float64], slope: float) -> None:
        """Take one step against `slope`: the derivative of the loss by the logit of the whole expert."""
        _step(x, self.seeds[0], self.table[0], self.squares, slope, self._rate, _SHRINKAGE)

    def reset_step_size(self) -> None:
        """After a drift: make steps as large as at first."""
        self.squares[:] = 1.0

    def restore(self, table: NDArray[np.float32], squares: NDArray[np.float32]) -> None:
        """Continue from this state; raise ValueError if it is not valid."""
        if len(table) != CELLS or len(squares) != CELLS:
            raise ValueError(f"a table of {len(table)} and {len(squares)} cells; expected {CELLS}")
        if not (np.abs(table) <= _LARGEST).all() or not ((squares >= 1.0) & np.isfinite(squares)).all():
            raise ValueError("a cell is too large or not a number")
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
