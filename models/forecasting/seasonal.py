"""Forecasts a series with a daily and a weekly season: a mixture of structural models, weighted by their errors.

Each model is x = level + one number for the slot of each season + noise; the level and the slots are random walks
(Harvey 1989, Forecasting, Structural Time Series Models and the Kalman Filter). This is exponential smoothing whose
gains come from the variances: it needs no history to start, and weekly slots rely on the daily ones until they have
learned better. Only the diagonal of the covariance is stored. The models differ in how fast the level moves, as series
do. Exponential weights of their recent squared errors mix them (Vovk 1990; Herbster and Warmuth 1998 for forgetting).
An outlying innovation is clipped to a moderate one (Gelper, Fried and Croux 2010).
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from typing import Final

# Variances in units of the noise's. The level ranges from nearly constant to half renewed in two steps.
_LEVEL_DRIFTS: Final = (0.0001, 0.001, 0.01, 0.1)
_SLOT_DRIFT: Final = 0.001
EXPERTS: Final = len(_LEVEL_DRIFTS)

# First variances: the level is almost unknown, the slots of the shorter season are little known, those of the longer
# one are near zero.
_LEVEL_START: Final = 100.0
_SLOT_STARTS: Final = (30.0, 3.0)

_LEARNING_RATE: Final = 0.5  # of the weights; squared errors are in units of the noise
_LARGEST_LOSS: Final = 3.0  # deviations: one step changes the weights by no more
_MEMORY_SEASONS: Final = 8  # the memory of the weights, in shortest seasons
_FARTHEST: Final = 2.0  # deviations: a larger innovation is an outlier
_OUTLIERS: Final = 6  # more than so many in a row are a new level instead
_LARGEST: Final = 1e9  # far above the square root of any total


class Seasonal:
    """The models of one series; `learn` takes every step exactly once, in order."""

    def __init__(self, seasons: Sequence[int]) -> None:
        """`seasons`: the steps of each season, the shortest first, two at most."""
        self.seasons = tuple(seasons)
        self.steps = 0
        self.outliers = 0  # in a row
        self._decay = 1.0 - 1.0 / (_MEMORY_SEASONS * self.seasons[0])
        width = 1 + sum(self.seasons)
        # float64[EXPERTS][1 + slots of all seasons]: the level first
        self._means = [array("d", bytes(8 * width)) for _ in _LEVEL_DRIFTS]
        start = [_LEVEL_START]
        for variance, steps in zip(_SLOT_STARTS, self.seasons, strict=False):
            start += [variance] * steps
        self._variances = [array("d", start) for _ in _LEVEL_DRIFTS]
        self._losses = [0.0] * EXPERTS

    def forecast(self, step: int, horizon: int) -> list[float]:
        """Return forecasts of the steps `step` to `step + horizon - 1`; `step` is the next to be learned."""
        weights = self._weights()
        found = []
        level = math.fsum(w * means[0] for w, means in zip(weights, self._means, strict=True))
        for at in range(step, step + horizon):
            value = level
            for place in self._places(at):
                for weight, means in zip(weights, self._means, strict=True):
                    value += weight * means[place]
            found.append(value)
        return found

    def learn(self, step: int, x: float, forecast: float, scale: float) -> None:
        """Learn the value `x` of step `step`, its `forecast`, and the usual error, `scale` (0: unknown)."""
        self.steps += 1
        places = (0, *self._places(step))
        reach = math.inf
        if scale > 0.0 and self.steps > 2 * self.seasons[-1]:
            if abs(x - forecast) > _FARTHEST * scale:
                self.outliers += 1
            else:
                self.outliers = 0
            if self.outliers <= _OUTLIERS:
                reach = _FARTHEST * scale
        for number, drift in enumerate(_LEVEL_DRIFTS):
            means, variances = self._means[number], self._variances[number]
            error, total = x, 1.0
            for place in places:
                error -= means[place]
                total += variances[place]
            if scale > 0.0:
                units = min(abs(error) / scale, _LARGEST_LOSS)
                self._losses[number] = self._decay * self._losses[number] + _LEARNING_RATE * units * units
            error = max(-reach, min(reach, error))
            for place in places:
                gain = variances[place] / total
                means[place] += gain * error
                variances[place] += (_SLOT_DRIFT if place else drift) - gain * variances[place]

    def pause(self, steps: int) -> None:
        """Skip `steps` unknown steps: the level becomes less certain."""
        for drift, variances in zip(_LEVEL_DRIFTS, self._variances, strict=True):
            variances[0] = min(_LEVEL_START, variances[0] + drift * steps)

    def _weights(self) -> list[float]:
        least = min(self._losses)
        weights = [math.exp(least - loss) for loss in self._losses]
        total = math.fsum(weights)
        return [weight / total for weight in weights]

    def _places(self, step: int) -> list[int]:
        places, first = [], 1
        for steps in self.seasons:
            places.append(first + step % steps)
            first += steps
        return places

    def state(self) -> tuple[int, int, bytes]:
        """Return steps, outliers, and float64 little-endian: losses, means, variances."""
        numbers = array("d", self._losses)
        for part in (*self._means, *self._variances):
            numbers.extend(part)
        return self.steps, self.outliers, little(numbers)

    @classmethod
    def restore(cls, seasons: Sequence[int], steps: int, outliers: int, numbers: bytes) -> Seasonal:
        """Restore from the values of `state`; raise ValueError if they are not valid."""
        made = cls(seasons)
        width = 1 + sum(made.seasons)
        values = floats(numbers, EXPERTS * (1 + 2 * width), _LARGEST**2)
        if steps < 0 or outliers < 0:
            raise ValueError("a count is negative")
        made.steps, made.outliers = steps, outliers
        made._losses = list(values[:EXPERTS])
        parts = [values[at : at + width] for at in range(EXPERTS, len(values), width)]
        made._means, made._variances = parts[:EXPERTS], parts[EXPERTS:]
        if min(made._losses) < 0 or min(min(part) for part in made._variances) < 0:
            raise ValueError("a loss or a variance is negative")
        if max(max(part) for part in made._variances) > 2 * _LEVEL_START:
            raise ValueError("a variance is too large")
        return made


def little(numbers: array[float]) -> bytes:
    """Return the numbers as float64, little-endian on every machine."""
    copy = array("d", numbers)
    if sys.byteorder == "big":
        copy.byteswap()
    return copy.tobytes()


def floats(data: bytes, count: int, largest: float) -> array[float]:
    """Read the `count` numbers that `little` wrote; raise ValueError unless all are within +-`largest`."""
    if len(data) != 8 * count:
        raise ValueError(f"{len(data)} bytes for {count} numbers")
    found = array("d", data)
    if sys.byteorder == "big":
        found.byteswap()
    if not all(-largest <= number <= largest for number in found):
        raise ValueError("a number is too large or not a number")
    return found
