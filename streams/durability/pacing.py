"""Spreads the rows of a commit cycle over time, so that neither they nor the events starve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LEAST_ROWS = 512  # packed at a time
LEAST_SPREAD_S = 0.1
AHEAD_S = 0.02  # rows are packed this long before they are due
CALM_ROWS_PER_S = 15_000  # broker and standbys take so many rows without a delay of the events
LONGEST_SPREAD_S = 30.0  # the longer, the more events a crash leaves to fold again


def spread(rows: int, least_s: float) -> float:
    """Return over how many seconds to write `rows` rows when there is time: at least `least_s`; 0 when that is 0."""
    return max(least_s, min(LONGEST_SPREAD_S, rows / CALM_ROWS_PER_S)) if least_s > 0.0 else 0.0


class Pace:
    """Spreads `rows` rows evenly over `spread_s` seconds from now. `hurried()`: there is no time to spread them.

    The writer calls `turn` after every few rows, which yields to the event loop. While the rows are on schedule, `turn`
    pauses until the next ones are due. The rows fall behind when the loop's other work takes long (such as the fold of
    a backlog); then rows and other work take turns of equal length, because a yield after every few rows would write
    only those few between two folds. The longer the cycle takes, the larger the share of the rows, so that it ends even
    when rows change faster than it writes them.
    """

    def __init__(
        self, rows: int, spread_s: float, hurried: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._rows, self._spread_s, self._hurried, self._clock = rows, spread_s, hurried, clock
        self._started = self._resumed = clock()
        self._away_s = 0.0
        self.written = 0

    def due(self) -> int:
        """Return how many rows to pack now."""
        if self._hurried() or self._spread_s <= 0.0:
            return self._rows
        elapsed_s = self._clock() - self._started + AHEAD_S
        return max(LEAST_ROWS, int(self._rows * elapsed_s / self._spread_s) - self.written)

    async def turn(self, rows: int) -> None:
        """Count `rows` more rows as written, and yield to the event loop if it is time."""
        self.written += rows
        now = self._clock()
        early_s = 0.0 if self._hurried() else self._written_for_s() - (now - self._started)
        if early_s > 0.0:
            await asyncio.sleep(early_s)
            self._away_s = max(0.0, self._clock() - now - early_s)
        elif now - self._resumed >= self._away_s * self._share(now):
            await asyncio.sleep(0.0)
            self._away_s = self._clock() - now
        else:
            return
        self._resumed = self._clock()

    def _share(self, now: float) -> float:
        """The length of the rows' turns as a multiple of the other work's."""
        return max(1.0, (now - self._started) / max(self._spread_s, LEAST_SPREAD_S))

    def _written_for_s(self) -> float:
        return self._spread_s * self.written / max(1, self._rows)
