"""Detects drift: River's Page-Hinkley test (Page 1954) on the loss of a model.

Examples that are due at the same time were opened by one cause, such as a campaign, and succeed or fail together. They
count as one.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from river import drift

# Only a rise of the mean loss beyond the slack counts, and the excess has to add up to the threshold: a rise by 0.3
# for 200 examples does. Chance alone gets there once in e^30.
_SLACK: Final = 0.05
_THRESHOLD: Final = 50.0
_LEAST_EXAMPLES: Final = 500
_LARGEST_SUM: Final = 1e9


class DriftState(msgspec.Struct, forbid_unknown_fields=True):
    """The state of the test and of the group of examples that fell due last.

    `count`, `mean`: losses tested and their mean; `excess`, `least`: the sum of excesses and its minimum. `due`,
    `together`, `loss`: when the group was due, its size and mean loss.
    """

    count: int = 0
    mean: float = 0.0
    excess: float = 0.0
    least: float | None = None
    due: int = -1
    together: int = 0
    loss: float = 0.0


class Drift:
    """The test, which begins anew after each drift. `found`: the drifts so far."""

    def __init__(self) -> None:
        self.found = 0
        self._test = _test()
        self._due, self._together, self._loss = -1, 0, 0.0

    def add(self, loss: float, due: int) -> bool:
        """Add the loss (0 to 4, see `models.learning.task`) of an example due at `due`; return whether a drift shows.

        Only groups that are complete count, so the answer depends on the losses before this one. After a drift a new
        test begins.
        """
        if due == self._due:
            self._together += 1
            self._loss += (loss - self._loss) / self._together
            return False
        before, known = self._loss, self._together > 0
        self._due, self._together, self._loss = due, 1, loss
        if known:
            self._test.update(before)
        if not self._test.drift_detected:
            return False
        self.found += 1
        self._test = _test()
        return True

    def state(self) -> DriftState:
        """Return plain data from which `restore` continues bit for bit."""
        test = self._test
        least = None if math.isinf(test._min_increase) else test._min_increase
        return DriftState(
            int(test._x_mean.n),
            test._x_mean.get(),
            test._sum_increase,
            least,
            self._due,
            self._together,
            self._loss,
        )

    def restore(self, state: DriftState) -> None:
        """Continue from `state`; raise ValueError if it is not valid."""
        numbers = (state.mean, state.excess, state.least or 0.0, state.loss)
        if min(state.count, state.together) < 0 or not all(abs(number) <= _LARGEST_SUM for number in numbers):
            raise ValueError("a figure of the drift test is too large or not a number")
        self._test = _test()
        self._test._x_mean = type(self._test._x_mean)._from_state(state.count, state.mean)
        self._test._sum_increase = state.excess
        self._test._min_increase = math.inf if state.least is None else state.least
        self._due, self._together, self._loss = state.due, state.together, state.loss


def _test() -> drift.PageHinkley:
    # alpha 1: a sum that forgets would stop falling, and in the end chance would lift it over the threshold
    return drift.PageHinkley(_LEAST_EXAMPLES, _SLACK, _THRESHOLD, alpha=1.0, mode="up")
