"""A regression that learns to the second order: a Kalman filter over the weights, linearised where the score is.

Penny and Roberts 1999, Dynamic logistic regression; West, Harrison and Migon 1985 for other links. What is known of
each weight, and of each pair of them, decides how far an example moves them, so that a few hundred examples teach what
steps along the gradient need ten thousand for. A step is implicit (Kulis and Bartlett 2010): the error counts as it is
after the step, so that none overshoots, whatever the example.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scoring import logistic
from streams.kernels import kernel

_LEAST_INFORMATION: Final = 1e-4
_ROUNDS: Final = 100  # of Newton's method, kept within bounds; three or four are usual
_CLOSE: Final = 1e-10


@kernel
def expected(logit: float, largest: float, amounts: bool) -> float:
    """The target that is expected."""
    return math.exp(min(logit, largest)) if amounts else logistic(logit)


@kernel
def implicit(before: float, room: float, target: float, largest: float, amounts: bool) -> float:
    """The change d of the logit for which d = room (target - expected(before + d)): it lies between 0 and the change
    by the error before the step, and is the only one."""
    far = room * (target - expected(before, largest, amounts))
    low, high = min(0.0, far), max(0.0, far)
    if amounts and target > 0.0:  # it does not go beyond the target
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
        if not low <= there <= high or abs(there - change) > 0.5 * wanted:  # Newton's method goes to and fro
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
    """One example `x`: float64[n] with this target, into `weights`: float64[n] and their covariance `spread`:
    float64[n, n].

    `dispersion`: of the target, see `models.learning.task`. Each variance grows by `move`, up to `most`: float64[n],
    so that
    what was learned long ago is forgotten. `shift`: float64[n] is scratch: spread x, the direction in which weights go.
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
    if room <= 0.0:  # nothing is left to be learned in this direction
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
