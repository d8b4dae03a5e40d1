"""A role that hangs ends itself: Faust's own detector only logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .guards import end_process

STALL_S = 60.0  # commits run every second; a minute without one while events wait is no hiccup
CHECK_S = 2.0


class Watchdog:
    """A thread that watches the age of the last commit. `lag()` is how many records wait, `progress()` any number
    that grows while work is done, `completed()` when the last cycle ended (monotonic seconds)."""

    def __init__(
        self,
        lag: Callable[[], int],
        progress: Callable[[], int],
        completed: Callable[[], float],
        *,
        stall_s: float = STALL_S,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[str], None] = end_process,
    ) -> None:
        self._lag, self._progress, self._completed = lag, progress, completed
        self._stall_s, self._clock, self._end = stall_s, clock, end
        self._stop = threading.Event()
        self._seen = -1
        self._moved_at = clock()

    def start(self) -> Watchdog:
        """Watch until `stop`."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()

    def check(self) -> str | None:
        """What is wrong, if anything: which step has stood still and for how long."""
        now = self._clock()
        progress, lag = self._progress(), self._lag()
        if progress != self._seen or lag == 0:
            self._seen, self._moved_at = progress, now
        stood_s = now - self._moved_at
        if stood_s > self._stall_s:
            return f"nothing was processed for {stood_s:.0f} s while {lag} records wait (step: fold)"
        age_s = now - self._completed()
        if lag > 0 and age_s > self._stall_s:
            return f"nothing was committed for {age_s:.0f} s while {lag} records wait (step: commit cycle)"
        return None

    def _run(self) -> None:
        while not self._stop.wait(CHECK_S):
            wrong = self.check()
            if wrong:
                self._end(f"watchdog: {wrong}; the process ends so that another takes over")
