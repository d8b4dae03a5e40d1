"""All roles on one machine, each its own process, started and stopped together."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from config.settings import Settings
from streams.errors import Fatal

from .role import READY_LINE

ROLES = ("worker", "learner", "ledger", "analyst", "server")
READER = "reader"  # started too where messages can be read
LEXICONS = ("vaderSentiment", "jionlp")
BACKUP = "backup"  # started too when a folder for backups is set
READY_TIMEOUT_S = 120.0  # a first start compiles the kernels
STOP_TIMEOUT_S = 15.0
TIED = "--tied"  # a role's hidden flag: end when standard input does, so that no role outlives its parent
_CHECK_S = 0.5
_LINES = 20  # of a role's output, kept to explain its end
_READY = re.compile(rf"^\w+ {READY_LINE} http://(\S+)$")


class RoleProcess:
    """One role as a child process. It ends when this process does, however that happens."""

    def __init__(
        self, role: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.role = role
        self.address = ""
        self.log = folder / f"{role}.log"
        self._ready = threading.Event()
        self._last: deque[str] = deque(maxlen=_LINES)
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", role, TIED, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=folder,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which stops its roles in order
        )
        self._reader = threading.Thread(target=self._read, name=f"{role} output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        output = self.process.stdout
        assert output is not None
        with self.log.open("w", encoding="utf-8") as log:
            for line in output:
                log.write(line)
                log.flush()
                self._last.append(line.rstrip())
                found = _READY.match(line.rstrip())
                if found:
                    self.address = found[1]
                    self._ready.set()

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S, stop: threading.Event | None = None) -> bool:
        """Wait until it takes events; False when `stop` was set meanwhile. Raises `Fatal` with its own last line."""
        until = time.monotonic() + timeout_s
        while not self._ready.wait(0.05):
            if stop is not None and stop.is_set():
                return False
            self.check()
            if time.monotonic() > until:
                raise Fatal(
                    f"the {self.role} was not ready after {timeout_s:.0f} s; its output is in {self.log}"
                )
        return True

    def check(self) -> None:
        """Raise `Fatal` if it has ended."""
        status = self.process.poll()
        if status is not None:
            self._reader.join(timeout=2)
            said = [line for line in self._last if line.startswith("streamwise:")] or list(self._last)
            last = said[-1].removeprefix("streamwise: ") if said else "it said nothing"
            raise Fatal(f"the {self.role} ended with status {status}: {last} (its output is in {self.log})")

    def terminate(self) -> None:
        """Ask it to end after a last commit."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; kill it after `timeout_s`. Returns its exit status."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join(timeout=2)
        _close(self.process.stdin)
        _close(self.process.stdout)
        return status


class Supervisor:
    """All roles, as a context manager. `addresses`: role -> host:port of its HTTP port."""

    def __init__(
        self,
        settings: Settings,
        *,
        free_ports: bool = False,
        learner: Sequence[str] = (),
        names: Sequence[str] = ROLES,
    ) -> None:
        """`names`: the roles to start, the server last; `learner`: more arguments for it."""
        self._settings, self._arguments, self._names = settings, {"learner": learner}, names
        self._folder = settings.state.resolve()
        self._environment = environment(settings, free_ports)
        self.running: dict[str, RoleProcess] = {}

    @property
    def addresses(self) -> dict[str, str]:
        """Where the roles that are ready answer."""
        return {role: process.address for role, process in self.running.items() if process.address}

    def start(
        self, stop: threading.Event | None = None, told: Callable[[str], None] = lambda role: None
    ) -> bool:
        """Start all and wait until each is ready; `told(role)` as they are. False when `stop` was set meanwhile."""
        for role in self._names[:-1]:
            self._start(role, {})
        for role in self._names[:-1]:
            if not self.running[role].wait_ready(stop=stop):
                return False
            told(role)
        pairs = ",".join(f"{role}={address}" for role, address in self.addresses.items())
        self._start("server", {"STREAMWISE_ROLES": pairs})  # it has to know where the others are
        if not self.running["server"].wait_ready(stop=stop):
            return False
        told("server")
        if self._settings.backup_dir:
            self._start(BACKUP, {})
            if not self.running[BACKUP].wait_ready(stop=stop):
                return False
            told(BACKUP)
        return True

    def _start(self, role: str, more: Mapping[str, str]) -> None:
        arguments = ["--watch"] if role == BACKUP else self._arguments.get(role, ())
        self.running[role] = RoleProcess(role, arguments, {**self._environment, **more}, self._folder)

    def check(self) -> None:
        """Raise `Fatal` if one has ended."""
        for process in self.running.values():
            process.check()

    def stop(self) -> dict[str, int]:
        """End them, the worker first, so that what it still emits is learned and kept; exit statuses by role."""
        statuses = {}
        until = time.monotonic() + STOP_TIMEOUT_S
        for role in (*self._names, BACKUP):
            if role in self.running:
                self.running[role].terminate()
                if role == "worker":
                    statuses[role] = self.running[role].wait(max(1.0, until - time.monotonic()))
        for role, process in self.running.items():
            if role not in statuses:
                statuses[role] = process.wait(max(1.0, until - time.monotonic()))
        self.running = {}
        return statuses

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def environment(settings: Settings, free_ports: bool) -> dict[str, str]:
    """The settings as a child's environment, paths made absolute. `free_ports`: all but the page's."""
    found = {}
    for name, value in settings.model_dump().items():
        if isinstance(value, Path):
            value = value.resolve()
        if name in ("backup_dir", "backup_key") and value:
            value = Path(value).resolve()
        if free_ports and name.endswith("_port") and name != "server_port":
            value = 0
        found[f"STREAMWISE_{name.upper()}"] = str(value)
    if not settings.ledger:
        found["STREAMWISE_LEDGER"] = f"sqlite:///{settings.state.resolve() / 'ledger.db'}"
    return {**found, "PYTHONUNBUFFERED": "1"}


def can_read(settings: Settings) -> bool:
    """Whether the lexicons are installed and the phrases declared."""
    installed = all(importlib.util.find_spec(name) for name in LEXICONS)
    return installed and settings.phrases.is_file()


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.close()


def run_together(settings: Settings, stop: threading.Event, told: Callable[[str], None]) -> None:
    """All roles until `stop` is set; raises `Fatal` when one of them ends by itself."""
    more = [READER] if can_read(settings) else []
    with Supervisor(settings, names=[*ROLES[:-1], *more, ROLES[-1]]) as roles:
        if roles.start(stop, lambda role: told(f"{role}: http://{roles.addresses[role]}")):
            while not stop.wait(_CHECK_S):
                roles.check()
