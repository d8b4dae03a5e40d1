"""Step 10, second half: a model that learns from each matured example, after predicting it.

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

from models.example import Example
from models.metrics import Window
from models.snapshot import LARGEST_VERSION, LINEAR, Snapshot
from streams.errors import Poison

# Between 0.02, better for frequent labels, and 0.1, better for rare ones; within 0.001 of either in AUC.
RATE: Final = 0.05

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

_FORMAT: Final = 1

# Far above what learning gets to; a state beyond these is none of ours.
_LARGEST_WINDOW: Final = 1 << 20
_LARGEST_SUM: Final = 1e18


class _WindowState(msgspec.Struct):
    count: int
    size: int
    scores: bytes
    labels: bytes


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """Everything a learner needs to go on as if undisturbed; mappings are by the name of the feature."""

    format: int
    model: str
    version: int
    examples: int
    positives: int
    ignored: int
    steps: int
    weights: dict[str, float]
    squares: dict[str, float]
    counts: dict[str, int]
    means: dict[str, float]
    variances: dict[str, float]
    spans: dict[str, float]
    window: _WindowState


class Learner:
    """One logistic regression over the shared features, deterministic: the same examples, the same bits."""

    def __init__(self, model: str, features: Sequence[str], *, rate: float = RATE) -> None:
        self.model = model
        self.features = tuple(features)
        self.version = 0
        self.examples = 0
        self.positives = 0
        self.ignored = 0  # values of features that were NaN, infinite or absurd
        self.window = Window()
        self._loss = optim.losses.Log()
        self._optimizer = optim.AdaGrad(rate)
        self._scaler = preprocessing.StandardScaler()
        self._weights: dict[str, float] = dict.fromkeys((_BIAS, *self.features), 0.0)
        self._spans: dict[str, float] = dict.fromkeys(self.features, 0.0)

    def learn(self, example: Example) -> float:
        """Learn one example; returns the score it was given before. Raises Poison on one of another model."""
        self._check(example)
        row = self._row(example.features)
        scaled = self._scaled(row)
        weights = self._weights
        logit = math.fsum([weights[name] * value for name, value in scaled.items()])
        score = self._loss.mean_func(logit)
        self.window.add(int(example.label), score)
        self.examples += 1
        self.positives += int(example.label)

        slope = self._loss.gradient(example.label, logit)
        self._optimizer.step(weights, {name: slope * value for name, value in scaled.items()})
        self._scaler.learn_one(row)
        return float(score)

    def snapshot(self, created: int, applied: Mapping[str, int] | None = None) -> Snapshot:
        """The next version: the scaling folded into the weights, and the state to go on from.

        `created` in milliseconds since the epoch; `applied`: partition -> the last offset learned.
        """
        self.version += 1
        weights, shifts = [], [self._weights[_BIAS]]
        for name in self.features:
            scale = self._scale(name)
            weight = self._weights[name] / scale if scale else 0.0
            weights.append(weight)
            shifts.append(-weight * self._scaler.means[name])
        return Snapshot(
            model=self.model,
            version=self.version,
            created=created,
            kind=LINEAR,
            features=self.features,
            bias=math.fsum(shifts),
            weights=tuple(weights),
            examples=self.examples,
            metrics=self.metrics(),
            state=self.state(),
            applied=dict(applied or {}),
        )

    def metrics(self) -> dict[str, float]:
        """Prequential figures over the window of the latest examples, and counts since the start."""
        counts = {"positives": float(self.positives), "ignored": float(self.ignored)}
        return {**self.window.figures(), **counts}

    def state(self) -> bytes:
        """Plain data (MessagePack) from which `restore` goes on bit for bit."""
        scaler = self._scaler
        state = _State(
            format=_FORMAT,
            model=self.model,
            version=self.version,
            examples=self.examples,
            positives=self.positives,
            ignored=self.ignored,
            steps=self._optimizer.n_iterations,
            weights=self._weights,
            squares=dict(self._optimizer.g2),
            counts=dict(scaler.counts),
            means=dict(scaler.means),
            variances=dict(scaler.vars),
            spans=self._spans,
            window=msgspec.convert(self.window.state(), _WindowState),
        )
        return msgspec.msgpack.encode(state)

    @classmethod
    def restore(cls, state: bytes, features: Sequence[str], *, rate: float = RATE) -> Learner:
        """Go on from `state`. Features are matched by name: a new one starts from nothing, a gone one goes.

        Raises Poison where `state` is none of ours.
        """
        try:
            known = msgspec.msgpack.decode(state, type=_State)
            if known.format != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {known.format}")
            _check_numbers(known)
            window = Window.restore(**msgspec.structs.asdict(known.window))
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise Poison(f"not the state of a learner: {error}") from error
        learner = cls(known.model, features, rate=rate)
        learner.version, learner.window = known.version, window
        learner.examples, learner.positives, learner.ignored = known.examples, known.positives, known.ignored
        names = {_BIAS, *learner.features}
        learner._optimizer.n_iterations = known.steps
        learner._optimizer.g2.update(_only(names, known.squares))
        learner._weights.update(_only(names, known.weights))
        learner._spans.update(_only(names, known.spans))
        learner._scaler.counts = Counter(_only(names, known.counts))
        learner._scaler.means.update(_only(names, known.means))
        learner._scaler.vars.update(_only(names, known.variances))
        return learner

    def _check(self, example: Example) -> None:
        if example.model != self.model:
            raise Poison(f"example {example.id} is for {example.model}, not for {self.model}")
        example.check_binary()
        if len(example.features) != len(self.features):
            have, want = len(example.features), len(self.features)
            raise Poison(f"example {example.id} has {have} features; expected {want}")

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


def _check_numbers(known: _State) -> None:
    """Raise ValueError where learning on would fail, or make a snapshot that nobody may score with."""
    counts = (known.examples, known.positives, known.ignored, known.steps, *known.counts.values())
    if not all(0 <= count <= LARGEST_VERSION for count in (known.version, known.window.count, *counts)):
        raise ValueError("a count is below 0 or absurd")
    if not 0 < known.window.size <= _LARGEST_WINDOW:
        raise ValueError(f"a window of {known.window.size} examples")
    sums = (*known.squares.values(), *known.variances.values(), *known.spans.values())
    if not all(0.0 <= number <= _LARGEST_SUM for number in sums):
        raise ValueError("a sum of squares or a span is below 0, absurd or no number")
    if not all(abs(number) <= _LARGEST_SUM for number in (*known.weights.values(), *known.means.values())):
        raise ValueError("a weight or a mean is absurd or no number")


def _only(names: set[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
