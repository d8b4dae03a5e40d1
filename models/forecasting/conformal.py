"""Intervals that hold their coverage while the series drifts: adaptive conformal inference.

Gibbs and Candès 2021, Adaptive Conformal Inference Under Distribution Shift: the bound is a quantile of the latest
errors, and the level at which it is taken goes down after a miss and up after a hit, so that the share of misses
tends to what was asked for whatever the series does. Lower and upper bound are kept apart, each with half of the
misses, as errors are seldom symmetric; a bound at zero that nothing can fall below has none.

Errors count in units of the usual error so many steps ahead, so that one window of one-step errors serves all.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from statistics import NormalDist
from typing import Final

from .seasonal import floats, little

_KEPT: Final = 300  # errors
_STEP: Final = 0.01  # of the level; 0.005 to 0.05 in the paper's examples
_MEMORY: Final = 60  # errors, for the usual one
_OUTLIER: Final = 3.0  # an error beyond so many usual ones counts as that many for the next usual one
_LARGEST_SCORE: Final = 20.0
_BEYOND: Final = 3.0  # how fast a bound goes beyond all errors seen while its level is below the least rank

# Where there are few errors yet, the bounds are those of a normal one.
_SEEDS: Final = tuple(NormalDist().inv_cdf((rank + 0.5) / 39) for rank in range(39))

_FLOOR: Final = 1e-9  # a usual error: a series of zeros has none
_LARGEST: Final = 1e9


class Intervals:
    """The errors of one series, 1 to `horizon` steps ahead."""

    def __init__(self, horizon: int, coverage: float) -> None:
        self.horizon = horizon
        self.share = (1.0 - coverage) / 2.0  # of misses, on each side
        self._latest = list(_SEEDS)  # the oldest first
        self._sorted = sorted(_SEEDS)
        self._counts = [0] * horizon
        self._squares = array("d", bytes(8 * horizon))  # the mean of squared errors
        self._levels = [array("d", [self.share] * horizon) for _ in ("lower", "upper")]

    @property
    def scale(self) -> float:
        """The usual error one step ahead; 0 while there is none."""
        return math.sqrt(self._squares[0])

    def bounds(self) -> list[tuple[float, float, float]]:
        """For each step ahead what to add to the forecast: (lower, upper), and the usual error."""
        found, square = [], 0.0
        for ahead in range(self.horizon):
            if self._counts[ahead]:
                square = self._squares[ahead]
            scale = max(_FLOOR, math.sqrt(square))
            lower = self._quantile(self._levels[0][ahead], 1.0)
            upper = self._quantile(self._levels[1][ahead], -1.0)
            found.append((lower * scale, upper * scale, scale))
        return found

    def usual(self) -> tuple[float, float]:
        """What a share of the latest errors one step ahead are below, and as many above.

        Unlike `bounds` these do not make room for misses that come one after another: departures show by them.
        """
        scale = max(_FLOOR, self.scale)
        return self._quantile(self.share, 1.0) * scale, self._quantile(self.share, -1.0) * scale

    def learn(self, ahead: int, error: float, below: bool, above: bool) -> None:
        """An error `ahead + 1` steps ahead, and whether the actual was outside the bounds it had."""
        count = self._counts[ahead] = min(_MEMORY, self._counts[ahead] + 1)
        square, mean = error * error, self._squares[ahead]
        if not ahead:
            self._keep(error / max(_FLOOR, math.sqrt(mean)) if count > 1 else 0.0)
        if count == _MEMORY:
            square = min(square, _OUTLIER * _OUTLIER * max(mean, _FLOOR * _FLOOR))
        self._squares[ahead] = mean + (square - mean) / count
        for levels, missed in zip(self._levels, (below, above), strict=True):
            # Twice the share at most: a bound that nothing can miss does not wander into the middle.
            level = levels[ahead] + _STEP * (self.share - missed)
            levels[ahead] = max(-1.0, min(2.0 * self.share, level))

    def _keep(self, score: float) -> None:
        score = max(-_LARGEST_SCORE, min(_LARGEST_SCORE, score))
        if len(self._latest) == _KEPT:
            self._sorted.remove(self._latest.pop(0))
        self._latest.append(score)
        insort(self._sorted, score)

    def _quantile(self, level: float, sign: float) -> float:
        """The error that a share `level` of errors is below (sign 1) or above (sign -1)."""
        errors = self._sorted
        rank = level * (len(errors) + 1) - 1.0  # of the one to take, from the far end; the finite-sample one
        low = max(0, min(len(errors) - 1, math.floor(rank)))
        if sign > 0:
            near, far = errors[low], errors[min(len(errors) - 1, low + 1)]
        else:
            near, far = errors[-1 - low], errors[-1 - min(len(errors) - 1, low + 1)]
        if rank < 0.0:
            return near * (1.0 - _BEYOND * (level - 1.0 / (len(errors) + 1))) if near * sign < 0 else near
        return near + (rank - low) * (far - near)

    def state(self) -> tuple[list[int], bytes, bytes]:
        """Counts; float64: mean squares, lower levels, upper levels; float64: the latest errors."""
        numbers = array("d", [*self._squares, *self._levels[0], *self._levels[1]])
        return list(self._counts), little(numbers), little(array("d", self._latest))

    @classmethod
    def restore(
        cls, horizon: int, coverage: float, counts: list[int], numbers: bytes, latest: bytes
    ) -> Intervals:
        """From the values of `state`; raises ValueError where they are none."""
        made = cls(horizon, coverage)
        values = floats(numbers, 3 * horizon, _LARGEST**2)
        errors = floats(latest, len(latest) // 8, _LARGEST_SCORE)
        if len(counts) != horizon or not all(0 <= count <= _MEMORY for count in counts):
            raise ValueError("counts of errors that cannot be")
        if not 0 < len(errors) <= _KEPT:
            raise ValueError(f"{len(errors)} latest errors")
        squares, lower, upper = (values[at : at + horizon] for at in range(0, 3 * horizon, horizon))
        if min(squares) < 0.0 or not all(-1.0 <= level <= 1.0 for level in (*lower, *upper)):
            raise ValueError("a square below 0 or a level beyond 1")
        made._counts, made._squares, made._levels = list(counts), squares, [lower, upper]
        made._latest, made._sorted = list(errors), sorted(errors)
        return made
