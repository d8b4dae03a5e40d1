"""Runs several roles in one process, each in a thread with an event loop of its own.

On one machine the small roles share the memory of their imports. Each keeps its HTTP port, its watchdog and its ready
line; an error still names the role that failed.
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
STOP_TIMEOUT_S = 12.0  # less than the supervisor waits for this process (15 s)
START_TIMEOUT_S = 60.0
STARTED_S = 10.0  # by then the memory of imports and first reads is free, and the process would keep it
GIVE_BACK_S = 60.0


class Role(Protocol):
    """The part of a role that this module uses."""

    @property
    def address(self) -> str:
        """The HTTP address (host:port)."""

    async def run(self) -> None:
        """Work until stopped."""


Make = Callable[[str, Settings], Role]


class _Wake:
    """Lets the main thread sleep until another thread or a signal wakes it, whichever thread receives the signal."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self.called = False

    def on_signals(self) -> None:
        """Let SIGINT and SIGTERM wake it."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.call)

    def call(self, *_signal: Any) -> None:
        """Wake it."""
        self.called = True
        with suppress(BlockingIOError):  # the pipe is full, so it will wake anyway
            os.write(self._write, b"!")

    def wait(self, timeout_s: float) -> bool:
        """Sleep until woken; return False if `timeout_s` passes first."""
        return bool(select.select([self._read], [], [], timeout_s)[0])


class _Hosted:
    """A role in a thread of its own. `failure`: why it ended; None while it runs, or if it was asked to end."""

    def __init__(self, name: str, make: Callable[[], Role], ended: Callable[[], None]) -> None:
        self.name, self.address = name, ""
        self.failure: BaseException | None = None
        self._make, self._ended = make, ended
        self._made = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the role; wait until its HTTP port is open or it has failed."""
        self.thread.start()
        if not self._made.wait(START_TIMEOUT_S):
            self.failure = Fatal(f"it did not start within {START_TIMEOUT_S:.0f} s")
            self._ended()

    def _run(self) -> None:
        in_role(self.name)
        try:
            with asyncio.Runner() as runner:
                runner.get_loop()  # sets it as the thread's loop, which Faust asks for
                role = self._make()
                self.address = role.address
                self._made.set()
                runner.run(role.run())
        except Exception as error:  # any error ends the process, which prints it
            self.failure = error
        finally:
            self._made.set()
            self._ended()


def run_shared(names: Sequence[str], settings: Settings, make: Make | None = None) -> int:
    """Run the roles until SIGINT or SIGTERM, or until one of them ends; return the exit status. Main thread only.

    The server starts last, because it needs the addresses of the others.
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
    if any(one.thread.is_alive() for one in hosted):  # one still starting may wait for long
        _leave(_status(failures) or (EXIT_FATAL if stuck else 0))
    return _status(failures)


def _status(failures: Mapping[str, BaseException]) -> int:
    if not failures:
        return 0
    return EXIT_CONFIG if any(isinstance(one, ConfigError) for one in failures.values()) else EXIT_FATAL


def _leave(status: int) -> None:
    """End the process without waiting for threads."""
    sys.stderr.flush()
    logging.shutdown()
    os._exit(status)


def _made(name: str, settings: Settings) -> Role:
    module, kind = CLASSES[name]
    role: Role = getattr(import_module(module), kind)(settings)
    return role


def _knowing(settings: Settings, addresses: Mapping[str, str]) -> Settings:
    """Return the settings with the addresses of the other roles."""
    known = {**settings.role_addresses, **addresses}
    pairs = ",".join(f"{role}={address}" for role, address in known.items())
    return settings.model_copy(update={"roles": pairs})
