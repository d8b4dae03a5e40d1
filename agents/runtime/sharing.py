"""Several roles in one process, each in a thread with an event loop of its own.

On one machine the small ones share what their imports hold. Each keeps its HTTP port, its watchdog, its line when it is
ready, and its name when it fails.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from config.settings import Settings
from streams.errors import ConfigError, Fatal
from streams.kernels import give_back
from streams.supervision import EXIT_FATAL, in_role

from .role import line_of, stop_all

CLASSES: Mapping[str, tuple[str, str]] = {
    "learner": ("agents.learner", "LearnerRole"),
    "ledger": ("agents.ledger", "LedgerRole"),
    "analyst": ("agents.analyst", "AnalystRole"),
    "reader": ("agents.reader", "ReaderRole"),
    "server": ("agents.server", "ServerRole"),
}
EXIT_CONFIG = 2
STOP_TIMEOUT_S = 12.0  # less than whoever started this waits
START_TIMEOUT_S = 60.0
STARTED_S = 10.0  # what imports and first reads took is free by then, and would stay
GIVE_BACK_S = 60.0


class Role(Protocol):
    """What a role is from here."""

    @property
    def address(self) -> str:
        """host:port of its HTTP port."""

    async def run(self) -> None:
        """Work until stopped."""


Make = Callable[[str, Settings], Role]


class _Wake:
    """What the main thread sleeps on: any thread may wake it, and so do signals, whichever thread they meet."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self.called = False

    def on_signals(self) -> None:
        """SIGINT and SIGTERM wake it."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.call)

    def call(self, *_signal: Any) -> None:
        """Wake it."""
        self.called = True
        with suppress(BlockingIOError):  # it has been woken often
            os.write(self._write, b"!")

    def wait(self, timeout_s: float) -> bool:
        """Sleep until it is woken; False when the time is over before."""
        return bool(select.select([self._read], [], [], timeout_s)[0])


class _Hosted:
    """A role in a thread of its own. `failure`: why it ended, None while it runs or when it was asked to end."""

    def __init__(self, name: str, make: Callable[[], Role], ended: Callable[[], None]) -> None:
        self.name, self.address = name, ""
        self.failure: BaseException | None = None
        self._make, self._ended = make, ended
        self._made = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, and wait until its HTTP port is open or it has failed."""
        self.thread.start()
        if not self._made.wait(START_TIMEOUT_S):
            self.failure = Fatal(f"it was not there after {START_TIMEOUT_S:.0f} s")
            self._ended()

    def _run(self) -> None:
        in_role(self.name)
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()  # Faust asks for the thread's
                role = self._make()
                self.address = role.address
                self._made.set()
                runner.run(role.run())
        except Exception as error:  # whatever it is ends the process, which says so
            self.failure = error
        finally:
            self._made.set()
            self._ended()


def run_shared(names: Sequence[str], settings: Settings, make: Make | None = None) -> int:
    """Run the roles until SIGINT or SIGTERM, or until one of them ends; returns the exit status. Main thread only.

    The server is made last, as it is told where the others are.
    """
    wake = _Wake()
    wake.on_signals()
    hosted: list[_Hosted] = []
    for name in sorted(names, key=lambda name: name == "server"):
        given = settings
        if name == "server":
            given = _knowing(settings, {one.name: one.address for one in hosted})
        hosted.append(_Hosted(name, partial(make or _made, name, given), wake.call))
        hosted[-1].start()
        if wake.called:
            break
    pause_s = STARTED_S
    while not wake.wait(pause_s):
        give_back()
        pause_s = GIVE_BACK_S
    held = stop_all()
    until = time.monotonic() + STOP_TIMEOUT_S
    for thread in held:
        thread.join(max(0.0, until - time.monotonic()))
    stuck = [one.name for one in hosted if one.thread in held and one.thread.is_alive()]
    failures = {one.name: one.failure for one in hosted if one.failure is not None}
    for name, failure in failures.items():
        sys.stderr.write(f"streamwise: {name}: {line_of(failure)}\n")
    if stuck:
        sys.stderr.write(f"streamwise: {stuck[0]}: it did not end in {STOP_TIMEOUT_S:.0f} s\n")
    if any(one.thread.is_alive() for one in hosted):  # one that has begun nothing yet may wait for long
        _leave(_status(failures) or (EXIT_FATAL if stuck else 0))
    return _status(failures)


def _status(failures: Mapping[str, BaseException]) -> int:
    if not failures:
        return 0
    return EXIT_CONFIG if any(isinstance(one, ConfigError) for one in failures.values()) else EXIT_FATAL


def _leave(status: int) -> None:
    """End without waiting for threads."""
    sys.stderr.flush()
    logging.shutdown()
    os._exit(status)


def _made(name: str, settings: Settings) -> Role:
    module, kind = CLASSES[name]
    role: Role = getattr(import_module(module), kind)(settings)
    return role


def _knowing(settings: Settings, addresses: Mapping[str, str]) -> Settings:
    """The settings with where all other roles answer."""
    known = {**settings.role_addresses, **addresses}
    pairs = ",".join(f"{role}={address}" for role, address in known.items())
    return settings.model_copy(update={"roles": pairs})
