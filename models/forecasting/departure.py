"""Detects that a series has left its forecast: evidence accumulates over steps, with a declared false-alarm rate.

Shin, Ramdas and Rinaldo 2024, E-detectors: a nonparametric framework for sequential change detection. Each step has a
likelihood ratio e of a departure against chance. The Shiryaev-Roberts statistic sums their products over all possible
beginnings, R = (R + 1) e; under chance alone it takes A steps or more on average to reach A.
"""

from __future__ import annotations

import math
from typing import Final

# The share of misses during a departure. Chance is granted a quarter more misses than the interval's share, because
# its bounds are estimates.
_AWAY: Final = 0.5
_GRANTED: Final = 1.25

# Evidence raises an alarm long before it is this large.
_LARGEST: Final = 1e15


class Evidence:
    """Evidence for one direction of one series, which by chance is outside on this side a `share` of the time."""

    def __init__(self, share: float, alarm_steps: float) -> None:
        """`alarm_steps`: the mean number of steps until a false alarm, at least."""
        chance = min(_AWAY, _GRANTED * share)
        self._miss, self._hit = _AWAY / chance, (1.0 - _AWAY) / (1.0 - chance)
        self._alarm = alarm_steps
        # Steps without a miss bring the sum close to h / (1 - h); 1.5 times as much is still at rest.
        self._at_rest = 1.5 * self._hit / (1.0 - self._hit)
        self.sum = 0.0
        self.since = 0  # the step of the first miss since the sum was last at rest

    def learn(self, step: int, missed: bool) -> float:
        """Return the evidence in units of an alarm if that is 1 or more, and begin anew; else return 0."""
        if missed and self.sum <= self._at_rest:
            self.since = step
        self.sum = (self.sum + 1.0) * (self._miss if missed else self._hit)
        if self.sum < self._alarm:
            return 0.0
        found, self.sum = self.sum / self._alarm, 0.0
        return found

    def restore(self, total: float, since: int) -> None:
        """Continue from a state; raise ValueError if it is impossible."""
        if not (math.isfinite(total) and 0.0 <= total <= _LARGEST):
            raise ValueError("the evidence is impossible")
        self.sum, self.since = total, since
