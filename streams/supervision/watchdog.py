"""A role that stands still ends itself and says which step did: Faust's own detector only logs.

What a role waits for is told apart from what hangs in it: while the broker (or the role's own store) does not
answer a question of the watchdog's own, no time counts.
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

STALL_S = (
    60.0  # commits run every few seconds; a minute without any progress while something waits is no hiccup
)
CHECK_S = 2.0
BEAT_S = 1.0
DEAF_S = 60.0  # on top, until an interpreter that gives no thread a turn is ended from outside of it
ASK_SHARE, ASK_PAUSE_SHARE = (
    1 / 3,
    1 / 6,
)  # of the stall time: who else is away is asked from here on, this often
OVERSLEPT_SHARE = 1 / 2  # a check that comes so much too late: the whole process was stopped
LONGER = 2.0  # what depends on other members of the group may take so many times as long

LOOP = "event loop"
Functions = Mapping[Callable[..., Any], str]  # which step each is part of


class Steps:
    """What is under way in a role, by name. Entering a step again is progress."""

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        self._entered = 0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """While this lasts, `name` is under way."""
        self._entered += 1
        self._under_way[name] = self._entered
        try:
            yield
        finally:
            self._under_way.pop(name, None)

    def waiting(self) -> dict[str, object]:
        """For a `Watchdog`."""
        return dict(self._under_way)

    def __contains__(self, name: str) -> bool:
        return name in self._under_way


class Watch(NamedTuple):
    """`waiting()`: step -> a value that changes with any progress, for what waits or is under way now.

    A step that still waits with the same value after `patience` times the stall time stands still. `functions`: the
    step that an event loop is in which stands still within one of them; `waiting` need not name it.
    """

    waiting: Callable[[], Mapping[str, object]]
    patience: float = 1.0
    functions: Functions = MappingProxyType({})


class Watchdog:
    """A thread that ends the process when a step of one of `watches` stands still; the first of them is named.

    `away()` says who outside does not answer ("" when all do); the time until then does not count. The loop that
    runs `keep_beating` is watched, too.
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
        self.away = ""  # who does not answer, as of the last time that it mattered
        self._stop, self._running = threading.Event(), False
        self._seen: dict[str, tuple[object, float]] = {}
        self._checked_at = self._asked_at = clock()
        self._found = ""  # what was wrong when it looked last
        self._beats, self._beat_at = 0, clock()
        self._loop_thread: int | None = None

    def start(self) -> Watchdog:
        """Watch until `stop`."""
        self._running, self._checked_at = True, self._clock()
        as_now = copy_context()  # of which role it is
        threading.Thread(target=as_now.run, args=(self._run,), name="watchdog", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop watching."""
        self._running = False
        self._stop.set()

    async def keep_beating(self) -> None:
        """To be run as a task of the event loop that does the work."""
        self._loop_thread, self._beat_at = threading.get_ident(), self._clock()
        while not self._stop.is_set():
            self._beats, self._beat_at = self._beats + 1, self._clock()
            await asyncio.sleep(min(BEAT_S, self._check_s))
        self._loop_thread = None

    def live(self) -> tuple[bool, str]:
        """Whether the role is alive, and if not, why. Who outside does not answer does not matter; any thread may ask.

        A loop that stands still while the broker is away is no less dead: the watchdog itself waits until it is back.
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
        """What is wrong, if anything: which step has stood still and for how long."""
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
        """The first step that has stood still for too long, or else the one that is nearest to it: its part."""
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
        """Where the event loop's thread stands."""
        return sys._current_frames().get(self._loop_thread) if self._loop_thread is not None else None

    def _placed(self, step: str) -> str:
        """The step; of a loop that does not turn, the innermost one that its stack is in."""
        frame = self._frame()
        if step != LOOP or frame is None:
            return step
        code, line = frame.f_code, frame.f_lineno
        callers = [caller.f_code for caller, _ in traceback.walk_stack(frame)]
        name = next((self._step_of[caller] for caller in callers if caller in self._step_of), LOOP)
        return f"{name} (the event loop is in {code.co_name}, {Path(code.co_filename).name}:{line})"

    def _run(self) -> None:
        while not self._stop.wait(self._check_s):
            if self._end is end_process:  # for the case that no thread of Python's gets its turn any more
                faulthandler.dump_traceback_later(LONGER * self._stall_s + DEAF_S, exit=True)
            try:
                wrong = self.check()
            except Exception as error:  # or nobody would watch any more
                wrong = f"it cannot look: {type(error).__name__}: {error}"
            self._found = wrong or ""
            if wrong:
                frame = self._frame()
                if frame is not None:
                    traceback.print_stack(frame, file=sys.stderr)
                self._end(f"watchdog: {wrong}; the process ends so that another takes over")
        faulthandler.cancel_dump_traceback_later()
