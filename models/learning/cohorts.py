"""What examples that are due together share: a level of their own, of which the variance is measured.

The offers of one wave fare well or ill together, by more than their features tell. How far off the next wave will be
nobody knows, but those before it tell how far it may be: a random effect (Williams 1982, Extra-binomial variation in
logistic linear models). What is learned from a cohort is learned beside its level, and a score is the mean over levels.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

_A_HORIZON: Final = 8  # cohorts
_KEEPS: Final = 0.99  # of what older cohorts count, with each new one: about a hundred count
LARGEST_VARIANCE: Final = 4.0  # no luck moves a logit further
# Levels are taken not to differ as if one cohort with a variance of 10 had shown it, a hundred examples or so: what
# comes out of fewer, or of many cohorts of one or two, is all noise.
_PRIOR: Final = 10.0**2
_LARGEST: Final = 1e18


class CohortsState(msgspec.Struct, forbid_unknown_fields=True):
    """Plain data from which `Cohorts` goes on bit for bit.

    Of the cohort at hand: when its first example was due (ms since the epoch; -1: there is none), the sum of its
    errors, and the variance of that sum if they shared nothing. Of those before it: by how much the squares of these
    sums were above these variances, and the squares of these variances.
    """

    began: int = -1
    error: float = 0.0
    alone: float = 0.0
    above: float = 0.0
    squares: float = 0.0


class Cohorts:
    """Examples in the order in which they are due; a cohort are those of an eighth of a horizon."""

    def __init__(self) -> None:
        self._known = CohortsState()

    def enter(self, due: int, horizon: int) -> bool:
        """The next example is due then, and was opened `horizon` before, in ms: whether a cohort begins with it."""
        known = self._known
        if known.began >= 0 and 0 <= _A_HORIZON * (due - known.began) < horizon:
            return False
        above, squares = self._sums()
        self._known = CohortsState(began=due, above=_KEEPS * above, squares=_KEEPS * squares)
        return True

    def add(self, error: float, variance: float) -> None:
        """An example was `error` off, of which `variance` is usual: p (1 - p) for yes or no."""
        self._known.error += error
        self._known.alone += variance

    @property
    def variance(self) -> float:
        """Of a cohort's level, a logit. By moments: a sum of errors whose variance is v if they share nothing has the
        square v + variance v^2."""
        above, squares = self._sums()
        return min(max(above, 0.0) / (squares + _PRIOR), LARGEST_VARIANCE)

    @property
    def shrinks(self) -> float:
        """What a logit is multiplied by for the chance that is the mean over levels (MacKay 1992, The evidence
        framework applied to classification networks)."""
        return 1.0 / math.sqrt(1.0 + math.pi / 8.0 * self.variance)

    def clear(self) -> None:
        """The world has changed: what was measured counts no more."""
        self._known = CohortsState()

    def state(self) -> CohortsState:
        """Plain data from which `restore` goes on bit for bit."""
        return msgspec.structs.replace(self._known)

    def restore(self, state: CohortsState) -> None:
        """Go on; ValueError where `state` is none of ours."""
        sums = (state.error, state.alone, state.above, state.squares)
        if (
            not all(abs(one) <= _LARGEST for one in sums)
            or min(state.alone, state.squares) < 0.0
            or not -1 <= state.began <= _LARGEST
        ):
            raise ValueError("a sum over a cohort of the mixture is absurd or no number")
        self._known = msgspec.structs.replace(state)

    def _sums(self) -> tuple[float, float]:
        known = self._known
        return known.above + known.error**2 - known.alone, known.squares + known.alone**2
