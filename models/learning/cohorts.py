"""A random effect for examples that are due together: each cohort has a level, whose variance is measured.

The offers of one wave succeed or fail together, by more than their features explain. The level of the next wave is
unknown, but earlier waves show how far levels vary (Williams 1982, Extra-binomial variation in logistic linear
models). The mixture learns its weights beside the level of the cohort, and a score is the mean over levels.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

_A_HORIZON: Final = 8  # cohorts in a horizon
_KEEPS: Final = 0.99  # each new cohort fades the older ones by this factor: about a hundred count
LARGEST_VARIANCE: Final = 4.0  # luck moves a logit no further
# The prior says that levels do not differ. It weighs as much as one cohort whose sum of errors has a variance of 10,
# a hundred examples or so: what fewer examples, or many cohorts of one or two, would show is all noise.
_PRIOR: Final = 10.0**2
_LARGEST: Final = 1e18


class CohortsState(msgspec.Struct, forbid_unknown_fields=True):
    """Plain data from which `Cohorts` continues bit for bit.

    `began`, `error` and `alone` are those of the current cohort: when its first example was due (ms since the epoch;
    -1: there is none), the sum of its errors, and the variance of that sum if its examples were independent. `above`
    and `squares` are faded sums over the earlier cohorts: the squared sums of errors minus these variances, and the
    squares of these variances.
    """

    began: int = -1
    error: float = 0.0
    alone: float = 0.0
    above: float = 0.0
    squares: float = 0.0


class Cohorts:
    """Takes examples in the order in which they are due; a cohort spans an eighth of a horizon."""

    def __init__(self) -> None:
        self._known = CohortsState()

    def enter(self, due: int, horizon: int) -> bool:
        """Take the next example, due at `due` and opened `horizon` ms before; return whether it begins a cohort."""
        known = self._known
        if known.began >= 0 and 0 <= _A_HORIZON * (due - known.began) < horizon:
            return False
        above, squares = self._sums()
        self._known = CohortsState(began=due, above=_KEEPS * above, squares=_KEEPS * squares)
        return True

    def add(self, error: float, variance: float) -> None:
        """Add the error of an example and its expected variance: p (1 - p) for yes or no."""
        self._known.error += error
        self._known.alone += variance

    @property
    def variance(self) -> float:
        """Return the variance of a cohort's level, a logit.

        By moments: if v is the variance of a sum of independent errors, the expected square of the sum is
        v + variance v^2.
        """
        above, squares = self._sums()
        return min(max(above, 0.0) / (squares + _PRIOR), LARGEST_VARIANCE)

    @property
    def shrinks(self) -> float:
        """Return the factor of a logit that gives the mean chance over levels.

        MacKay 1992, The evidence framework applied to classification networks.
        """
        return 1.0 / math.sqrt(1.0 + math.pi / 8.0 * self.variance)

    def clear(self) -> None:
        """After a drift: forget what was measured."""
        self._known = CohortsState()

    def state(self) -> CohortsState:
        """Return plain data from which `restore` continues bit for bit."""
        return msgspec.structs.replace(self._known)

    def restore(self, state: CohortsState) -> None:
        """Continue from a state; raise ValueError if `state` is not valid."""
        sums = (state.error, state.alone, state.above, state.squares)
        if (
            not all(abs(one) <= _LARGEST for one in sums)
            or min(state.alone, state.squares) < 0.0
            or not -1 <= state.began <= _LARGEST
        ):
            raise ValueError("a sum over a cohort of the mixture is too large or not a number")
        self._known = msgspec.structs.replace(state)

    def _sums(self) -> tuple[float, float]:
        known = self._known
        return known.above + known.error**2 - known.alone, known.squares + known.alone**2
