"""What comes next in a series with a daily and a weekly rhythm: a few structural models, weighed by their errors.

Each is x = level + one number for the slot in every season + noise, the level a random walk and the slots, too
(Harvey 1989, Forecasting, Structural Time Series Models and the Kalman Filter): exponential smoothing whose gains
come from the variances, so that it starts without history and weekly slots lean on the daily ones until they know
better. Only the diagonal of the covariance is kept. The models differ in how fast the level moves, which is what
series differ in; they are mixed by exponential weights of their recent squared errors (Vovk 1990; Herbster and
Warmuth 1998 for forgetting). An innovation that is an outlier counts as a moderate one (Gelper, Fried and Croux 2010).
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from typing import Final

# Variances in units of the noise's. From nearly constant to a level that is half renewed in two steps.
_LEVEL_DRIFTS: Final = (0.0001, 0.001, 0.01, 0.1)
_SLOT_DRIFT: Final = 0.001
EXPERTS: Final = len(_LEVEL_DRIFTS)

# What is not known at first: the level next to nothing, the shorter season little, the longer one is near zero.
_LEVEL_START: Final = 100.0
_SLOT_STARTS: Final = (30.0, 3.0)

_LEARNING_RATE: Final = 0.5  # of the weights; squared errors are in units of the noise
_LARGEST_LOSS: Final = 3.0  # deviations: what one step may tell of the models
_MEMORY_SEASONS: Final = 8  # of the shortest season: what the weights remember
_FARTHEST: Final = 2.0  # deviations: an innovation beyond is an outlier, unless
_OUTLIERS: Final = 6  # more than so many come in a row: then it is a new level
_LARGEST: Final = 1e9  # far above the square root of any total


class Seasonal:
    """The models of one series, which is told of every step exactly once, in order."""

    def __init__(self, seasons: Sequence[int]) -> None:
        """`seasons`: steps of each season, the shortest first, two at most."""
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
        """The steps `step` to `step + horizon - 1`, of which `step` is the next one."""
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
        """Learn step `step`; `forecast` is what was said of it, `scale` the usual size of the error (0: unknown)."""
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
        """`steps` steps of which nothing is known: the level has moved on, unseen."""
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
        """steps, outliers, and float64 little-endian: losses, means, variances."""
        numbers = array("d", self._losses)
        for part in (*self._means, *self._variances):
            numbers.extend(part)
        return self.steps, self.outliers, little(numbers)

    @classmethod
    def restore(cls, seasons: Sequence[int], steps: int, outliers: int, numbers: bytes) -> Seasonal:
        """From the values of `state`; raises ValueError where they are none."""
        made = cls(seasons)
        width = 1 + sum(made.seasons)
        values = floats(numbers, EXPERTS * (1 + 2 * width), _LARGEST**2)
        if steps < 0 or outliers < 0:
            raise ValueError("a count is below 0")
        made.steps, made.outliers = steps, outliers
        made._losses = list(values[:EXPERTS])
        parts = [values[at : at + width] for at in range(EXPERTS, len(values), width)]
        made._means, made._variances = parts[:EXPERTS], parts[EXPERTS:]
        if min(made._losses) < 0 or min(min(part) for part in made._variances) < 0:
            raise ValueError("a loss or a variance is below 0")
        if max(max(part) for part in made._variances) > 2 * _LEVEL_START:
            raise ValueError("a variance is absurd")
        return made


def little(numbers: array[float]) -> bytes:
    """float64, little-endian, whatever the machine."""
    copy = array("d", numbers)
    if sys.byteorder == "big":
        copy.byteswap()
    return copy.tobytes()


def floats(data: bytes, count: int, largest: float) -> array[float]:
    """The `count` numbers of `little`; raises ValueError unless all are within +-`largest`."""
    if len(data) != 8 * count:
        raise ValueError(f"{len(data)} bytes for {count} numbers")
    found = array("d", data)
    if sys.byteorder == "big":
        found.byteswap()
    if not all(-largest <= number <= largest for number in found):
        raise ValueError("a number is absurd or none")
    return found
