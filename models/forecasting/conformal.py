"""Intervals that hold their coverage while the series drifts: adaptive conformal inference.

Gibbs and Candès 2021, Adaptive Conformal Inference Under Distribution Shift: a bound is a quantile of the latest
errors. Its level falls after a miss and rises after a hit, so that the share of misses tends to the declared one,
whatever the series does. Lower and upper bound have separate levels, each with half of the misses, because errors are
seldom symmetric; a lower bound at zero, which nothing can fall below, has no misses.

Errors are in units of the usual error that many steps ahead, so that one window of one-step errors serves all steps.
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
_MEMORY: Final = 60  # errors, over which the usual error is a mean
_OUTLIER: Final = 3.0  # the usual error takes an error beyond so many usual ones as that many
_LARGEST_SCORE: Final = 20.0
_BEYOND: Final = 3.0  # how fast a bound moves beyond all errors seen while its level is below the lowest rank

# While there are few errors, the bounds are those of a normal distribution.
_SEEDS: Final = tuple(NormalDist().inv_cdf((rank + 0.5) / 39) for rank in range(39))

_FLOOR: Final = 1e-9  # of a usual error: it is 0 in a series of zeros
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
        """Return the usual error one step ahead; 0 before the first error."""
        return math.sqrt(self._squares[0])

    def bounds(self) -> list[tuple[float, float, float]]:
        """Return for each step ahead what to add to the forecast, (lower, upper), and the usual error."""
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
        """Return the one-step errors that a `share` of the latest ones are below, and above.

        Unlike `bounds`, these do not widen after misses in a row, so that departures show.
        """
        scale = max(_FLOOR, self.scale)
        return self._quantile(self.share, 1.0) * scale, self._quantile(self.share, -1.0) * scale

    def learn(self, ahead: int, error: float, below: bool, above: bool) -> None:
        """Learn an error `ahead + 1` steps ahead, and whether the actual value was outside its bounds."""
        count = self._counts[ahead] = min(_MEMORY, self._counts[ahead] + 1)
        square, mean = error * error, self._squares[ahead]
        if not ahead:
            self._keep(error / max(_FLOOR, math.sqrt(mean)) if count > 1 else 0.0)
        if count == _MEMORY:
            square = min(square, _OUTLIER * _OUTLIER * max(mean, _FLOOR * _FLOOR))
        self._squares[ahead] = mean + (square - mean) / count
        for levels, missed in zip(self._levels, (below, above), strict=True):
            # Twice the share at most, so that a bound that nothing can miss does not drift into the middle.
            level = levels[ahead] + _STEP * (self.share - missed)
            levels[ahead] = max(-1.0, min(2.0 * self.share, level))

    def _keep(self, score: float) -> None:
        score = max(-_LARGEST_SCORE, min(_LARGEST_SCORE, score))
        if len(self._latest) == _KEPT:
            self._sorted.remove(self._latest.pop(0))
        self._latest.append(score)
        insort(self._sorted, score)

    def _quantile(self, level: float, sign: float) -> float:
        """Return the error that a share `level` of errors is below (sign 1) or above (sign -1)."""
        errors = self._sorted
        rank = level * (len(errors) + 1) - 1.0  # the finite-sample rank, from the far end
        low = max(0, min(len(errors) - 1, math.floor(rank)))
        if sign > 0:
            near, far = errors[low], errors[min(len(errors) - 1, low + 1)]
        else:
            near, far = errors[-1 - low], errors[-1 - min(len(errors) - 1, low + 1)]
        if rank < 0.0:
            return near * (1.0 - _BEYOND * (level - 1.0 / (len(errors) + 1))) if near * sign < 0 else near
        return near + (rank - low) * (far - near)

    def state(self) -> tuple[list[int], bytes, bytes]:
        """Return counts; float64: mean squares, lower levels, upper levels; float64: the latest errors."""
        numbers = array("d", [*self._squares, *self._levels[0], *self._levels[1]])
        return list(self._counts), little(numbers), little(array("d", self._latest))

    @classmethod
    def restore(
        cls, horizon: int, coverage: float, counts: list[int], numbers: bytes, latest: bytes
    ) -> Intervals:
        """Restore from the values of `state`; raise ValueError if they are not valid."""
        made = cls(horizon, coverage)
        values = floats(numbers, 3 * horizon, _LARGEST**2)
        errors = floats(latest, len(latest) // 8, _LARGEST_SCORE)
        if len(counts) != horizon or not all(0 <= count <= _MEMORY for count in counts):
            raise ValueError("the counts of errors are impossible")
        if not 0 < len(errors) <= _KEPT:
            raise ValueError(f"{len(errors)} latest errors")
        squares, lower, upper = (values[at : at + horizon] for at in range(0, 3 * horizon, horizon))
        if min(squares) < 0.0 or not all(-1.0 <= level <= 1.0 for level in (*lower, *upper)):
            raise ValueError("a square is negative or a level beyond 1")
        made._counts, made._squares, made._levels = list(counts), squares, [lower, upper]
        made._latest, made._sorted = list(errors), sorted(errors)
        return made
