"""Copies of the two online experts, to know what they would have said when an example opened.

The mixture has to learn its weights from those scores. By the time an example is learned the experts know more, and
the mixture would trust them too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.array_bytes import to_bytes
from models.scoring import CELLS, additive, cut, linear

_A_HORIZON: Final = 8  # copies in a horizon
_KEPT: Final = _A_HORIZON + 1
_LARGEST: Final = 1e12


class CopyState(msgspec.Struct, forbid_unknown_fields=True):
    """One copy: `weights: float64[F]`, `table: float32[CELLS]`, little-endian."""

    time: int
    bias: float
    weights: bytes
    table: bytes


class _Copy:
    def __init__(
        self, time: int, bias: float, weights: NDArray[np.float64], table: NDArray[np.float32]
    ) -> None:
        self.time, self.bias, self.weights, self.table = time, np.array([bias]), weights[None], table[None]


class LaggedExperts:
    """Copies an eighth of a horizon apart: one is as old as the opening of an example, or little older."""

    def __init__(self) -> None:
        self._copies: list[_Copy] = []

    def wanted(self, clock: int, horizon: int) -> bool:
        """Return whether it is time for a copy; times in ms since the epoch."""
        return not self._copies or _A_HORIZON * (clock - self._copies[-1].time) >= horizon

    def copy(self, clock: int, bias: float, weights: Sequence[float], table: NDArray[np.float32]) -> None:
        """Store a copy of the experts, taken at `clock`."""
        self._copies = [*self._copies, _Copy(clock, bias, np.array(weights, np.float64), table.copy())][
            -_KEPT:
        ]

    def logits(
        self, x: NDArray[np.float64], seeds: NDArray[np.int64], opened: int, largest: float
    ) -> tuple[float, float] | None:
        """Return the logits of the linear expert and the table at `opened`, x: float64[F]; None: no copy is so old."""
        for one in reversed(self._copies):
            if one.time <= opened:
                first = linear(x, 0, one.weights, one.bias)
                second = additive(x, 0, seeds, one.table)
                return float(cut(first, largest)), float(cut(second, largest))
        return None

    def clear(self) -> None:
        """After a drift: drop all copies."""
        self._copies = []

    def state(self) -> list[CopyState]:
        """Return plain data from which `restore` continues bit for bit."""
        return [
            CopyState(c.time, float(c.bias[0]), to_bytes(c.weights), to_bytes(c.table)) for c in self._copies
        ]

    def restore(self, known: Sequence[CopyState], features: int) -> None:
        """Continue from a state; raise ValueError if `known` is not valid."""
        copies = []
        for one in known[-_KEPT:]:
            if len(one.weights) != 8 * features or len(one.table) != 4 * CELLS or one.time < 0:
                raise ValueError("a copy of the experts has another size")
            weights, table = np.frombuffer(one.weights, "<f8"), np.frombuffer(one.table, "<f4")
            if not (np.abs([one.bias, *weights]) <= _LARGEST).all() or not np.isfinite(table).all():
                raise ValueError("a copy of the experts is too large or not a number")
            copies.append(_Copy(one.time, one.bias, weights.astype(np.float64), table.astype(np.float32)))
        self._copies = copies
