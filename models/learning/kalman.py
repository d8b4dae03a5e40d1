"""A second-order online regression: an extended Kalman filter over the weights, linearised at the score.

Penny and Roberts 1999, Dynamic logistic regression; West, Harrison and Migon 1985 for other links. The covariance of
the weights decides how far an example moves each of them: a few hundred examples teach what gradient steps need ten
thousand for. A step is implicit (Kulis and Bartlett 2010): it uses the error after the step, so that no example makes
it overshoot.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scoring import logistic
from streams.kernels import kernel

_LEAST_INFORMATION: Final = 1e-4
_ROUNDS: Final = 100  # of Newton's method at most, kept within bounds; three or four are usual
_CLOSE: Final = 1e-10


@kernel
def expected(logit: float, largest: float, amounts: bool) -> float:
    """Return the expected target."""
    return math.exp(min(logit, largest)) if amounts else logistic(logit)


@kernel
def implicit(before: float, room: float, target: float, largest: float, amounts: bool) -> float:
    """Return the change d of the logit that solves d = room (target - expected(before + d)).

    There is one solution; it lies between 0 and the change that the error before the step would give.
    """
    far = room * (target - expected(before, largest, amounts))
    low, high = min(0.0, far), max(0.0, far)
    if amounts and target > 0.0:  # the change does not go beyond the target
        there = math.log(target) - before
        low, high = max(low, min(0.0, there)), min(high, max(0.0, there))
    change = 0.0
    moved = wanted = high - low
    for _ in range(_ROUNDS):
        mean = expected(before + change, largest, amounts)
        missing = change - room * (target - mean)
        if missing > 0.0:
            high = change
        else:
            low = change
        there = change - missing / (1.0 + room * (mean if amounts else mean * (1.0 - mean)))
        if not low <= there <= high or abs(there - change) > 0.5 * wanted:  # Newton's method oscillates
            there = 0.5 * (low + high)
        wanted, moved = moved, abs(there - change)
        change = there
        if moved <= _CLOSE * (1.0 + abs(change)):
            break
    return change


@kernel
def step(
    weights: NDArray[np.float64],
    spread: NDArray[np.float64],
    x: NDArray[np.float64],
    shift: NDArray[np.float64],
    most: NDArray[np.float64],
    move: float,
    target: float,
    dispersion: float,
    largest: float,
    amounts: bool,
) -> None:
    """Learn one example `x`: float64[n] with this target: update `weights`: float64[n] and their covariance `spread`.

    spread: float64[n, n]. `dispersion`: that of the target, see `models.learning.task`. Each variance grows by `move`,
    up to `most`: float64[n], so that the filter forgets old examples. `shift`: float64[n] is scratch for spread x, the
    direction in which the weights move.
    """
    size = len(x)
    before = room = 0.0
    for i in range(size):
        sum_ = 0.0
        for j in range(size):
            sum_ += spread[i, j] * x[j]
        shift[i] = sum_
        room += sum_ * x[i]
        before += weights[i] * x[i]
    if room <= 0.0:  # the weights are certain in this direction
        return
    change = implicit(before, room / dispersion, target, largest, amounts)
    mean = expected(before + change, largest, amounts)
    information = max(mean if amounts else mean * (1.0 - mean), _LEAST_INFORMATION) / dispersion
    shrinks = information / (1.0 + information * room)
    for i in range(size):
        weights[i] += shift[i] * (change / room)
        for j in range(i):
            spread[i, j] -= shrinks * shift[i] * shift[j]
            spread[j, i] = spread[i, j]
        spread[i, i] = min(spread[i, i] - shrinks * shift[i] * shift[i] + move, most[i])
