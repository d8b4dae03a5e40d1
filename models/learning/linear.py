"""The linear expert: a logistic (or log-linear) regression over scaled features, learned online to second order.

`models.learning.kalman` takes the steps; River's StandardScaler computes means and variances. Only the learner role
imports this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from river import preprocessing

from models.array_bytes import to_bytes
from models.scoring import LARGEST_VERSION

from .kalman import step

# Logarithms stay below 691 and the rest near 1: a larger value is no measurement, and neither is NaN.
_ABSURD: Final = 1e6

# No recent value counts as more than so many deviations. A column that starts to move after a long silence has next
# to no variance; its first few examples would swing the scores otherwise.
_FARTHEST: Final = 8.0
_SPAN_DECAY: Final = 1.0 - 1e-4  # "recent": ten thousand examples

# A feature whose deviation is a smaller part of 1 + |mean| counts as constant: float32 holds 7 digits, and a weight
# in smaller units would be all rounding error.
_LEAST_SCALE: Final = 1e-6

# The variance of a weight before the first example, and its maximum: features are in units of their deviation.
_VARIANCE: Final = 0.05
_BIAS_VARIANCE: Final = 1.0

# What an example tells of its logit: p (1 - p), from 0.05 to 0.25 if labels are not rare.
_USUAL_INFORMATION: Final = 0.1

# The bias learns as the weight of a feature that is always 1; no view has an empty name.
_BIAS: Final = ""

# Far above what learning reaches; a state beyond these is not valid.
_LARGEST_SUM: Final = 1e18
_LARGEST_WEIGHT: Final = 1e6


class LinearState(msgspec.Struct, forbid_unknown_fields=True):
    """All that the expert needs to continue as if undisturbed; mappings are by the name of the feature.

    `spread`: float64[1 + F, 1 + F], little-endian, the covariance of the weights in the order of `weights`.
    """

    ignored: int
    weights: dict[str, float]
    spread: bytes
    counts: dict[str, int]
    means: dict[str, float]
    variances: dict[str, float]
    spans: dict[str, float]


class Linear:
    """One regression over scaled features. It is deterministic: the same examples give the same bits."""

    def __init__(self, features: Sequence[str], *, memory: float, largest: float, amounts: bool) -> None:
        """`memory`: about how many examples count; `largest`: the largest logit; `amounts`: whether the expected target
        is exp(logit), not a probability."""
        self.features = tuple(features)
        self.ignored = 0  # values of features that were NaN, infinite or too large
        self._largest, self._amounts = largest, amounts
        self._move = 1.0 / (_USUAL_INFORMATION * memory * memory)
        size = 1 + len(self.features)
        self._most = np.array([_BIAS_VARIANCE, *[_VARIANCE] * len(self.features)])
        self._weights = np.zeros(size)
        self._spread = np.diag(self._most)
        self._x, self._shift = np.zeros(size), np.empty(size)
        self._scaler = preprocessing.StandardScaler()
        self._spans: dict[str, float] = dict.fromkeys(self.features, 0.0)
        self._row: dict[str, float] = {}

    def logit(self, features: Sequence[float]) -> float:
        """Return the logit of an example; `learn` then learns this example."""
        self._row = self._usable(features)
        self._scale_into(self._x, self._row)
        return float(self._weights @ self._x)

    def learn(self, target: float, dispersion: float) -> None:
        """Take one step towards the target of the example that `logit` was last called with.

        `dispersion`: the variance of a target in units of its expectation (1 for yes or no).
        """
        step(
            self._weights, self._spread, self._x, self._shift, self._most, self._move, target, dispersion,
            self._largest, self._amounts,
        )  # fmt: skip
        self._scaler.learn_one(self._row)

    def reset_step_size(self) -> None:
        """After a drift: make steps as large as at first."""
        self._spread[:] = np.diag(self._most)

    def folded(self) -> tuple[float, tuple[float, ...]]:
        """Return bias and weights for unscaled features, in the order of the features."""
        weights, shifts = [], [float(self._weights[0])]
        for name, scaled in zip(self.features, self._weights[1:].tolist(), strict=True):
            scale = self._scale(name)
            weight = scaled / scale if scale else 0.0
            weights.append(weight)
            shifts.append(-weight * self._scaler.means[name])
        return math.fsum(shifts), tuple(weights)

    def means(self) -> tuple[float, ...]:
        """Return the mean of each feature, in the order of the features."""
        return tuple(float(self._scaler.means[name]) for name in self.features)

    def state(self) -> LinearState:
        """Return plain data from which `restore` continues bit for bit."""
        scaler = self._scaler
        return LinearState(
            ignored=self.ignored,
            weights=dict(zip((_BIAS, *self.features), self._weights.tolist(), strict=True)),
            spread=to_bytes(self._spread),
            counts=dict(scaler.counts),
            means=dict(scaler.means),
            variances=dict(scaler.vars),
            spans=self._spans,
        )

    def restore(self, known: LinearState) -> None:
        """Continue from `known`. Features are matched by name: a new one starts untrained, a removed one is dropped.

        Raise ValueError if learning from this state would fail, or make a snapshot that is refused.
        """
        spread = _checked(known)
        names = (_BIAS, *self.features)
        self.ignored = known.ignored
        order = {name: at for at, name in enumerate(known.weights)}
        here = [at for at, name in enumerate(names) if name in order]
        there = [order[names[at]] for at in here]
        self._weights[here] = np.array([*known.weights.values()])[there]
        self._spread[np.ix_(here, here)] = spread[np.ix_(there, there)]
        self._spans.update(_only(names, known.spans))
        self._scaler.counts = Counter(_only(names, known.counts))
        self._scaler.means.update(_only(names, known.means))
        self._scaler.vars.update(_only(names, known.variances))

    def _usable(self, features: Sequence[float]) -> dict[str, float]:
        """Return the usable features by name; the others count as if at their mean."""
        # The comparison is false for NaN.
        row = {name: x for name, x in zip(self.features, features, strict=True) if -_ABSURD <= x <= _ABSURD}
        self.ignored += len(self.features) - len(row)
        return row

    def _scale_into(self, scaled: NDArray[np.float64], row: Mapping[str, float]) -> None:
        """Fill `scaled` with deviations from the mean in units of `_scale`, by earlier rows; note the row's span."""
        means, spans = self._scaler.means, self._spans
        scaled[:] = 0.0
        scaled[0] = 1.0
        for at, name in enumerate(self.features, 1):
            if name not in row:
                continue
            deviation = row[name] - means[name]
            span, far = spans[name] * _SPAN_DECAY, abs(deviation)
            spans[name] = span if span > far else far
            scale = self._scale(name)
            if scale:
                scaled[at] = deviation / scale

    def _scale(self, name: str) -> float:
        """Return the divisor of a feature; 0 while it is constant, and then it does not count."""
        variance = self._scaler.vars[name]
        if not variance > 0.0:
            return 0.0
        scale, least = math.sqrt(variance), self._spans[name] / _FARTHEST
        scale = scale if scale > least else least
        return scale if scale > _LEAST_SCALE * (1.0 + abs(self._scaler.means[name])) else 0.0


def _checked(known: LinearState) -> NDArray[np.float64]:
    """Return the covariance; raise ValueError if learning cannot have reached this state."""
    if not all(0 <= count <= LARGEST_VERSION for count in (known.ignored, *known.counts.values())):
        raise ValueError("a count is negative or too large")
    if not all(
        0.0 <= number <= _LARGEST_SUM for number in (*known.variances.values(), *known.spans.values())
    ):
        raise ValueError("a variance or a span is negative, too large or not a number")
    if not all(abs(number) <= _LARGEST_SUM for number in known.means.values()):
        raise ValueError("a mean is too large or not a number")
    if not all(abs(number) <= _LARGEST_WEIGHT for number in known.weights.values()):
        raise ValueError("a weight is too large or not a number")
    size = len(known.weights)
    if len(known.spread) != 8 * size * size:
        raise ValueError(f"a covariance of {len(known.spread)} bytes for {size} weights")
    spread = np.frombuffer(known.spread, "<f8").reshape(size, size)
    # with a matrix that is no covariance, steps could go the wrong way
    if not (np.abs(spread) <= _BIAS_VARIANCE).all() or not (spread == spread.T).all():
        raise ValueError("a covariance is too large, not symmetric or not a number")
    if np.linalg.eigvalsh(spread)[0] < -1e-9:
        raise ValueError("the covariance of the weights is not positive semidefinite")
    return spread


def _only(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
