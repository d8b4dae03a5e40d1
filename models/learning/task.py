"""The two kinds of label, yes or no and an amount: how a logit becomes a prediction, and what an error costs."""

from __future__ import annotations

import math
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from models.example import Example
from models.metrics import amount_figures, figures
from models.scoring import LARGEST_FACTOR, LARGEST_LOGIT, logistic
from streams.errors import Poison

LARGEST_LOSS: Final = 4.0  # a larger loss says no more: the score was confident and wrong
_UNIT_EXAMPLES: Final = 1000
_LEAST_UNIT: Final = 1e-6
_LARGEST_UNIT: Final = 1e15
_LARGEST_TARGET: Final = math.exp(LARGEST_FACTOR)
_LEAST_EXPECTED: Final = 0.05  # of the unit: an error relative to less would be all noise
_LARGEST_SURPRISE: Final = 2.0


class TaskState(msgspec.Struct, forbid_unknown_fields=True):
    """What a task of amounts measures: the count of labels, their mean (the unit) and the dispersion."""

    count: int = 0
    unit: float = 1.0
    dispersion: float = 1.0


class Task(Protocol):
    """A kind of label.

    `objective`: LightGBM's; `largest`: the largest distance of an expert's logit from 0; `lagged`: whether the mixture
    learns from what the experts would have said when an example opened (`models.learning.lagged_experts`);
    `amounts`: whether the expected target is exp(logit), not a probability; `additive_rate`: the learning rate of the
    additive expert; `dispersion`: the variance of a target in units of its expectation, at least 1.
    """

    objective: dict[str, Any]
    largest: float
    lagged: bool
    amounts: bool
    additive_rate: float
    state: TaskState

    @property
    def dispersion(self) -> float: ...

    def check(self, example: Example) -> None:
        """Raise Poison if the example does not have such a label."""

    def target(self, label: float) -> float:
        """Return the target that the experts learn in place of the label."""

    def mean(self, logit: float) -> float:
        """Return the expected target."""

    def prediction(self, logit: float) -> float:
        """Return the expected label: the score."""

    def loss(self, prediction: float, label: float) -> float:
        """Return the loss, from 0 to LARGEST_LOSS."""

    def surprise(self, prediction: float, label: float) -> float:
        """Return the error relative to the usual one at this prediction, 0 to LARGEST_LOSS: the input of drift."""

    def update(self, label: float, mean: float) -> None:
        """Note that an example with this expected target, `mean`, was learned."""

    def are_valid(self, labels: Any, scores: Any) -> bool:
        """Return whether these can be labels and scores."""

    def figures(self, labels: Any, scores: Any) -> dict[str, float]:
        """Return figures of how good the scores were."""


class Binary:
    """Yes or no: a logistic model, judged by its log-loss in nats."""

    objective: dict[str, Any] = {"objective": "binary"}  # noqa: RUF012
    largest = LARGEST_LOGIT
    lagged = True
    amounts = False
    additive_rate = 0.02
    dispersion = 1.0

    def __init__(self) -> None:
        self.state = TaskState()

    def check(self, example: Example) -> None:
        example.check_binary()

    def target(self, label: float) -> float:
        return label

    def mean(self, logit: float) -> float:
        return float(logistic(logit))

    def prediction(self, logit: float) -> float:
        return float(logistic(logit))

    def loss(self, prediction: float, label: float) -> float:
        likely = prediction if label else 1.0 - prediction
        return min(-math.log(likely), LARGEST_LOSS) if likely > 0.0 else LARGEST_LOSS

    def surprise(self, prediction: float, label: float) -> float:
        return self.loss(prediction, label)

    def update(self, label: float, mean: float) -> None:
        pass

    def are_valid(self, labels: Any, scores: Any) -> bool:
        return bool(((labels == 0) | (labels == 1)).all() and ((scores >= 0) & (scores <= 1)).all())

    def figures(self, labels: Any, scores: Any) -> dict[str, float]:
        return figures(labels, scores)


class Amount:
    """An amount of 0 or more: quasi-Poisson with a logarithmic link (Wedderburn 1974), judged by its absolute error.

    Targets are in units of the mean of the first thousand amounts, so that logits are near 0 in any currency. Errors
    grow with the amount, and customers who stay spend more over time: drift is detected by errors relative to the
    expected amount. Amounts take so long to be known that copies of the experts from then are outdated: the mixture
    learns from what the experts say now.
    """

    objective: dict[str, Any] = {"objective": "tweedie", "tweedie_variance_power": 1.2}  # noqa: RUF012
    largest = LARGEST_FACTOR
    lagged = False
    amounts = True
    additive_rate = 0.1

    def __init__(self) -> None:
        self.state = TaskState(unit=_LEAST_UNIT)

    def check(self, example: Example) -> None:
        if not abs(example.label) <= _LARGEST_UNIT:
            raise Poison(f"training example {example.id}: expected an amount, got {example.label:g}")

    def target(self, label: float) -> float:
        if self.state.unit <= _LEAST_UNIT:  # no amount above 0 yet: the first one becomes the unit
            return 1.0 if label > 0.0 else 0.0
        return min(max(label, 0.0) / self.state.unit, _LARGEST_TARGET)

    def mean(self, logit: float) -> float:
        return math.exp(min(logit, LARGEST_FACTOR))

    def prediction(self, logit: float) -> float:
        return self.state.unit * self.mean(logit)

    @property
    def dispersion(self) -> float:
        return max(self.state.dispersion, 1.0)

    def loss(self, prediction: float, label: float) -> float:
        return min(abs(prediction - label) / self.state.unit, LARGEST_LOSS)

    def surprise(self, prediction: float, label: float) -> float:
        expected = max(prediction, _LEAST_EXPECTED * self.state.unit)
        return min(abs(prediction - label) / expected, _LARGEST_SURPRISE)

    def update(self, label: float, mean: float) -> None:
        known = self.state
        error = self.target(label) - mean
        known.dispersion += (min(error * error / max(mean, 0.01), 1e3) - known.dispersion) / min(
            known.count + 1, 1000
        )
        if known.count < _UNIT_EXAMPLES:
            sum_ = known.unit * known.count + max(label, 0.0)
            known.unit = min(max(sum_ / (known.count + 1), _LEAST_UNIT), _LARGEST_UNIT)
        known.count += 1

    def are_valid(self, labels: Any, scores: Any) -> bool:
        return bool((np.abs(labels) <= _LARGEST_UNIT).all() and np.isfinite(scores).all())

    def figures(self, labels: Any, scores: Any) -> dict[str, float]:
        return amount_figures(labels, scores)


def restore_state(task: Task, state: TaskState) -> None:
    """Continue from `state`; raise ValueError if it is not valid."""
    if (
        state.count < 0
        or not _LEAST_UNIT <= state.unit <= _LARGEST_UNIT
        or not 0.0 <= state.dispersion <= 1e4
    ):
        raise ValueError("the unit of a model's amounts is too large or not a number")
    task.state = state
