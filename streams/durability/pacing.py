"""How the rows of a commit cycle are spread over time, so that neither they nor the events starve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LEAST_ROWS = 512  # packed at a time
LEAST_SPREAD_S = 0.1
AHEAD_S = 0.02  # rows are packed this long before they are due
CALM_ROWS_PER_S = 15_000  # broker and standbys take so many beside the events without delaying these
LONGEST_SPREAD_S = 30.0  # what a crash leaves to be folded again grows with it


def spread(rows: int, least_s: float) -> float:
    """Over how many seconds to write `rows` rows where there is time for it; 0 where `least_s` is."""
    return max(least_s, min(LONGEST_SPREAD_S, rows / CALM_ROWS_PER_S)) if least_s > 0.0 else 0.0


class Pace:
    """Spreads `rows` rows evenly over `spread_s` seconds from now; `hurried()` says that there is no time for it.

    Who writes rows gives the event loop its turn (`turn`) after every few. While they are written in time that is a
    pause. When they fall behind, because what else the loop does takes long (a fold of much that waits), rows
    and the rest take turns of equal length: to yield after every few rows would write few of them a fold. The
    longer they take the larger their share, so that a cycle ends even where more rows change than are written.
    """

    def __init__(
        self, rows: int, spread_s: float, hurried: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._rows, self._spread_s, self._hurried, self._clock = rows, spread_s, hurried, clock
        self._started = self._resumed = clock()
        self._away_s = 0.0
        self.written = 0

    def due(self) -> int:
        """How many rows to pack now."""
        if self._hurried() or self._spread_s <= 0.0:
            return self._rows
        elapsed_s = self._clock() - self._started + AHEAD_S
        return max(LEAST_ROWS, int(self._rows * elapsed_s / self._spread_s) - self.written)

    async def turn(self, rows: int) -> None:
        """So many more rows were written: give way if it is time."""
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
        """Of the rows' turns to the others'."""
        return max(1.0, (now - self._started) / max(self._spread_s, LEAST_SPREAD_S))

    def _written_for_s(self) -> float:
        return self._spread_s * self.written / max(1, self._rows)
