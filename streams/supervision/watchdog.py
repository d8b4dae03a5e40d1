"""The watchdog ends a stalled role and names the step that stalled. Faust's own detector only logs.

It tells a role that waits from one that hangs: it asks the broker (or the role's own store) itself, and
counts no time while that does not answer.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple

from .guards import end_process

# commits run every few seconds: a minute without progress while work waits is no passing delay
STALL_S = 60.0
CHECK_S = 2.0
BEAT_S = 1.0
DEAF_S = 60.0  # added before faulthandler, outside the interpreter, ends one in which no thread gets a turn
# of the stall time: from which point on, and how often, the watchdog asks whether the broker answers
ASK_SHARE, ASK_PAUSE_SHARE = 1 / 3, 1 / 6
OVERSLEPT_SHARE = 1 / 2  # of the stall time: a check later than this shows that the process was stopped
LONGER = 2.0  # patience with a step that depends on other members of the group

LOOP = "event loop"
Functions = Mapping[Callable[..., Any], str]  # function -> the step that it is part of


class Steps:
    """The steps that a role is in, by name. To enter a step again is progress."""

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        self._entered = 0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Mark the step `name` as under way for the length of the `with` block."""
        self._entered += 1
        self._under_way[name] = self._entered
        try:
            yield
        finally:
            self._under_way.pop(name, None)

    def waiting(self) -> dict[str, object]:
        """Return the steps under way, as a `Watch` wants them."""
        return dict(self._under_way)

    def __contains__(self, name: str) -> bool:
        return name in self._under_way


class Watch(NamedTuple):
    """Steps to watch. `waiting()` maps each step that waits or is under way to a value that any progress changes.

    A step has stalled when its value is the same after `patience` times the stall time. `functions` maps functions to
    steps: when the event loop stalls inside one of them, the watchdog names its step; `waiting` need not name it.
    """

    waiting: Callable[[], Mapping[str, object]]
    patience: float = 1.0
    functions: Functions = MappingProxyType({})


class Watchdog:
    """A thread that ends the process when a step of one of `watches` stalls, and names the first such step.

    `away()` names the outside service that does not answer ("" when all do); that time does not count. The watchdog
    also watches the event loop that runs `keep_beating`.
    """

    def __init__(
        self,
        watches: Sequence[Watch],
        *,
        away: Callable[[], str] = lambda: "",
        stall_s: float = STALL_S,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[str], None] = end_process,
    ) -> None:
        self._watches = [Watch(self._beating), *watches]
        self._step_of = {
            function.__code__: step for watch in watches for function, step in watch.functions.items()
        }
        self._ask, self._stall_s, self._clock, self._end = away, stall_s, clock, end
        self._check_s = min(CHECK_S, stall_s / 10)
        self.away = ""  # the last answer of `away()`
        self._stop, self._running = threading.Event(), False
        self._seen: dict[str, tuple[object, float]] = {}
        self._checked_at = self._asked_at = clock()
        self._found = ""  # what was wrong at the last check
        self._beats, self._beat_at = 0, clock()
        self._loop_thread: int | None = None

    def start(self) -> Watchdog:
        """Watch until `stop`."""
        self._running, self._checked_at = True, self._clock()
        as_now = copy_context()  # it holds the role's name
        threading.Thread(target=as_now.run, args=(self._run,), name="watchdog", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop watching."""
        self._running = False
        self._stop.set()

    async def keep_beating(self) -> None:
        """Beat until `stop`; run this as a task of the event loop that does the work."""
        self._loop_thread, self._beat_at = threading.get_ident(), self._clock()
        while not self._stop.is_set():
            self._beats, self._beat_at = self._beats + 1, self._clock()
            await asyncio.sleep(min(BEAT_S, self._check_s))
        self._loop_thread = None

    def live(self) -> tuple[bool, str]:
        """Return whether the role is alive, and if not, why. Any thread may ask.

        It does not matter here whether the broker answers: a loop that stalls while the broker is away counts as dead,
        although the watchdog waits until the broker is back before it ends the process.
        """
        now = self._clock()
        if self._found:
            return False, self._found
        if self._loop_thread is not None and now - self._beat_at > self._stall_s:
            return False, f"the event loop has stood still for {now - self._beat_at:.0f} s"
        if self._running and now - self._checked_at > self._stall_s + self._check_s:
            return False, f"the watchdog has not looked for {now - self._checked_at:.0f} s"
        return True, ""

    def check(self) -> str | None:
        """Return which step has stalled and for how long; None when none has."""
        now = self._clock()
        if now - self._checked_at > self._check_s + self._stall_s * OVERSLEPT_SHARE:
            self._seen.clear()
        try:
            return self._judge(now)
        finally:
            self._checked_at = self._clock()

    def _judge(self, now: float) -> str | None:
        step, part = self._look(now)
        if part < ASK_SHARE and not self.away:
            return None
        if now - self._asked_at >= self._stall_s * ASK_PAUSE_SHARE:
            self.away = self._ask()
            self._asked_at = now = self._clock()
        if self.away:
            self._seen = {name: (value, now) for name, (value, _) in self._seen.items()}
        elif part > 1.0:
            return f"step {self._placed(step)} has stood still for {now - self._seen[step][1]:.0f} s"
        return None

    def _look(self, now: float) -> tuple[str, float]:
        """Return the first stalled step, else the one nearest to it, and the share of its allowed time that it took."""
        before, self._seen = self._seen, {}
        found = ("", 0.0)
        for watch in self._watches:
            for step, value in watch.waiting().items():
                known = before.get(step)
                since = known[1] if known is not None and known[0] == value else now
                self._seen[step] = value, since
                part = (now - since) / (self._stall_s * watch.patience)
                if part > found[1] and found[1] <= 1.0:
                    found = step, part
        return found

    def _beating(self) -> dict[str, object]:
        return {} if self._loop_thread is None else {LOOP: self._beats}

    def _frame(self) -> FrameType | None:
        """Return the frame in which the event loop's thread is now."""
        return sys._current_frames().get(self._loop_thread) if self._loop_thread is not None else None

    def _placed(self, step: str) -> str:
        """Return the step's name; for a stalled event loop, that of the innermost known function on its stack."""
        frame = self._frame()
        if step != LOOP or frame is None:
            return step
        code, line = frame.f_code, frame.f_lineno
        callers = [caller.f_code for caller, _ in traceback.walk_stack(frame)]
        name = next((self._step_of[caller] for caller in callers if caller in self._step_of), LOOP)
        return f"{name} (the event loop is in {code.co_name}, {Path(code.co_filename).name}:{line})"

    def _run(self) -> None:
        while not self._stop.wait(self._check_s):
            if self._end is end_process:  # in case no Python thread gets a turn any more
                faulthandler.dump_traceback_later(LONGER * self._stall_s + DEAF_S, exit=True)
            try:
                wrong = self.check()
            except Exception as error:  # an error must not end the watch silently
                wrong = f"it cannot look: {type(error).__name__}: {error}"
            self._found = wrong or ""
            if wrong:
                frame = self._frame()
                if frame is not None:
                    traceback.print_stack(frame, file=sys.stderr)
                self._end(f"watchdog: {wrong}; the process ends so that another takes over")
        faulthandler.cancel_dump_traceback_later()
