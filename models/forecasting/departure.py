"""When a series has left what was forecast: evidence that gathers over steps, with a declared rate of false alarms.

Shin, Ramdas and Rinaldo 2024, E-detectors: a nonparametric framework for sequential change detection. Each step
multiplies by how much likelier it is under a departure than under chance; the Shiryaev-Roberts sum of these over
all possible beginnings, R = (R + 1) e, reaches A on average not before A steps when chance is all there is.
"""

from __future__ import annotations

import math
from typing import Final

# Of misses, while a series is away. Chance is granted a quarter more than the interval's share, as its bounds are
# estimates.
_AWAY: Final = 0.5
_GRANTED: Final = 1.25

# Evidence that large has alarmed long ago.
_LARGEST: Final = 1e15


class Evidence:
    """Evidence for one direction of one series: outside on this side `share` of the time by chance."""

    def __init__(self, share: float, alarm_steps: float) -> None:
        """`alarm_steps`: how many steps pass on average, or more, until a false alarm."""
        chance = min(_AWAY, _GRANTED * share)
        self._miss, self._hit = _AWAY / chance, (1.0 - _AWAY) / (1.0 - chance)
        self._alarm = alarm_steps
        # What steps without a miss bring the sum near to, and a little more.
        self._at_rest = 1.5 * self._hit / (1.0 - self._hit)
        self.sum = 0.0
        self.since = 0  # the first miss since the last time there was next to no evidence

    def learn(self, step: int, missed: bool) -> float:
        """The evidence in units of what an alarm takes, when it is 1 or more; it starts anew then. Else 0."""
        if missed and self.sum <= self._at_rest:
            self.since = step
        self.sum = (self.sum + 1.0) * (self._miss if missed else self._hit)
        if self.sum < self._alarm:
            return 0.0
        found, self.sum = self.sum / self._alarm, 0.0
        return found

    def restore(self, total: float, since: int) -> None:
        """Go on from there; raises ValueError where it cannot be."""
        if not (math.isfinite(total) and 0.0 <= total <= _LARGEST):
            raise ValueError("evidence that cannot be")
        self.sum, self.since = total, since
