"""The linear expert: a logistic regression over scaled features, learned online.

River does the learning: its StandardScaler keeps the means and variances, its logistic loss gives the
gradient, its AdaGrad (Duchi, Hazan and Singer 2011) takes the step. Only the learner role imports this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from river import optim, preprocessing

from models.scorer import LARGEST_LOGIT
from models.snapshot import LARGEST_VERSION

# Logarithms stay below 691 and the rest near 1: what is beyond is no measurement. Nor is NaN.
_ABSURD: Final = 1e6

# No value seen lately counts as more than so many deviations: a column that starts to move after a long
# silence has next to no variance, and would otherwise swing the scores with its first few examples.
_FARTHEST: Final = 8.0
_SPAN_DECAY: Final = 1.0 - 1e-4  # "lately": ten thousand examples

# A feature that varies less, in parts of 1 + |mean|, is constant: float32 holds 7 digits, and a weight in
# units of less would be all rounding.
_LEAST_SCALE: Final = 1e-6

# The bias learns as the weight of a feature that is always 1; no view has an empty name.
_BIAS: Final = ""

# Far above what learning gets to; a state beyond these is none of ours.
_LARGEST_SUM: Final = 1e18


class LinearState(msgspec.Struct, forbid_unknown_fields=True):
    """Everything it needs to go on as if undisturbed; mappings are by the name of the feature."""

    ignored: int
    steps: int
    weights: dict[str, float]
    squares: dict[str, float]
    counts: dict[str, int]
    means: dict[str, float]
    variances: dict[str, float]
    spans: dict[str, float]


class Linear:
    """One regression over the features, scaled; deterministic: the same examples, the same bits."""

    def __init__(
        self, features: Sequence[str], *, rate: float, loss: Any = None, largest: float = LARGEST_LOGIT
    ) -> None:
        self.features = tuple(features)
        self.ignored = 0  # values of features that were NaN, infinite or absurd
        self._loss = loss if loss is not None else optim.losses.Log()
        self._largest = largest
        self._optimizer = optim.AdaGrad(rate)
        self._scaler = preprocessing.StandardScaler()
        self._weights: dict[str, float] = dict.fromkeys((_BIAS, *self.features), 0.0)
        self._spans: dict[str, float] = dict.fromkeys(self.features, 0.0)
        self._at: tuple[dict[str, float], dict[str, float]] = ({}, {})

    def logit(self, features: Sequence[float]) -> float:
        """The logit of an example that is about to be learned."""
        row = self._row(features)
        scaled = self._scaled(row)
        self._at = row, scaled
        weights = self._weights
        return math.fsum([weights[name] * value for name, value in scaled.items()])

    def learn(self, logit: float, label: float) -> None:
        """One step towards the target by the example that `logit` was just asked for."""
        row, scaled = self._at
        slope = self._loss.gradient(label, min(logit, self._largest))
        self._optimizer.step(self._weights, {name: slope * value for name, value in scaled.items()})
        self._scaler.learn_one(row)

    def quicken(self) -> None:
        """The world has changed: steps are as large as at first."""
        self._optimizer.g2.clear()

    def folded(self) -> tuple[float, tuple[float, ...]]:
        """Bias and weights for unscaled features, in the order of the features."""
        weights, shifts = [], [self._weights[_BIAS]]
        for name in self.features:
            scale = self._scale(name)
            weight = self._weights[name] / scale if scale else 0.0
            weights.append(weight)
            shifts.append(-weight * self._scaler.means[name])
        return math.fsum(shifts), tuple(weights)

    def means(self) -> tuple[float, ...]:
        """Of each feature, in the order of the features."""
        return tuple(float(self._scaler.means[name]) for name in self.features)

    def state(self) -> LinearState:
        """Plain data from which `restore` goes on bit for bit."""
        scaler = self._scaler
        return LinearState(
            ignored=self.ignored,
            steps=self._optimizer.n_iterations,
            weights=self._weights,
            squares=dict(self._optimizer.g2),
            counts=dict(scaler.counts),
            means=dict(scaler.means),
            variances=dict(scaler.vars),
            spans=self._spans,
        )

    def restore(self, known: LinearState) -> None:
        """Go on from `known`. Features are matched by name: a new one starts from nothing, a gone one goes.

        Raises ValueError where learning on would fail, or make a snapshot that nobody may score with.
        """
        _check_numbers(known)
        names = {_BIAS, *self.features}
        self.ignored = known.ignored
        self._optimizer.n_iterations = known.steps
        self._optimizer.g2.update(_only(names, known.squares))
        self._weights.update(_only(names, known.weights))
        self._spans.update(_only(names, known.spans))
        self._scaler.counts = Counter(_only(names, known.counts))
        self._scaler.means.update(_only(names, known.means))
        self._scaler.vars.update(_only(names, known.variances))

    def _row(self, features: Sequence[float]) -> dict[str, float]:
        """The features that can be learned from, by name; the others are as if at their mean."""
        # The comparison is false for NaN.
        row = {name: x for name, x in zip(self.features, features, strict=True) if -_ABSURD <= x <= _ABSURD}
        self.ignored += len(self.features) - len(row)
        return row

    def _scaled(self, row: Mapping[str, float]) -> dict[str, float]:
        """Deviations from the mean in units of `_scale`, by what was seen before this row; notes its span."""
        means, spans = self._scaler.means, self._spans
        scaled = {_BIAS: 1.0}
        for name, x in row.items():
            deviation = x - means[name]
            span, far = spans[name] * _SPAN_DECAY, abs(deviation)
            spans[name] = span if span > far else far
            scale = self._scale(name)
            if scale:
                scaled[name] = deviation / scale
        return scaled

    def _scale(self, name: str) -> float:
        """What a feature is divided by; 0 while it has not varied, and then it does not count."""
        variance = self._scaler.vars[name]
        if not variance > 0.0:
            return 0.0
        scale, least = math.sqrt(variance), self._spans[name] / _FARTHEST
        scale = scale if scale > least else least
        return scale if scale > _LEAST_SCALE * (1.0 + abs(self._scaler.means[name])) else 0.0


def _check_numbers(known: LinearState) -> None:
    if not all(
        0 <= count <= LARGEST_VERSION for count in (known.ignored, known.steps, *known.counts.values())
    ):
        raise ValueError("a count is below 0 or absurd")
    sums = (*known.squares.values(), *known.variances.values(), *known.spans.values())
    if not all(0.0 <= number <= _LARGEST_SUM for number in sums):
        raise ValueError("a sum of squares or a span is below 0, absurd or no number")
    if not all(abs(number) <= _LARGEST_SUM for number in (*known.weights.values(), *known.means.values())):
        raise ValueError("a weight or a mean is absurd or no number")


def _only(names: set[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
