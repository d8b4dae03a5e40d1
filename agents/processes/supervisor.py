"""Starts and stops all roles of one machine together, each as a process; small ones may share one process."""

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
from typing import IO, Any

from config.settings import ROOT, Settings
from streams.errors import Fatal

from .ready import READY_LINE

ROLES = ("worker", "learner", "ledger", "analyst", "server")
READER = "reader"  # started if the lexicons are installed and the phrases declared
LEXICONS = ("vaderSentiment", "jionlp")
BACKUP = "backup"  # started if a folder for backups is set
SHARED = "shared"  # the command that runs several roles in one process
SMALL = ("learner", "ledger", "analyst", READER, "server")  # the worker keeps a core to itself
# glibc gives many threads an arena each, up to eight a core, and no thread uses the free memory of another arena
FEW_ARENAS = {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}
FIRST = "prepare"  # the command that runs the checks before any role starts
READY_TIMEOUT_S = 120.0  # a first start compiles the kernels
STOP_TIMEOUT_S = 15.0
TIED = "--tied"  # a role's hidden flag: end when standard input closes, so that no role outlives its parent
_CHECK_S = 0.5
_LINES = 20  # the latest lines of a role's output, kept to explain its end
_READY = re.compile(rf"^(\w+) {READY_LINE} http://(\S+)$")


class RoleProcess:
    """A child process that runs one role or several. It ends when this process ends, however that happens.

    `addresses`: the HTTP address (host:port) of each role that is ready.
    """

    def __init__(
        self,
        role: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        roles: Sequence[str] = (),
    ) -> None:
        """`role`: the command; `roles`: the roles that it runs, if not that one alone."""
        self.roles = tuple(roles) or (role,)
        self.addresses: dict[str, str] = {}
        self.log = folder / f"{role}.log"
        self._ready = {name: threading.Event() for name in self.roles}
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

    @property
    def address(self) -> str:
        """The HTTP address of its first role; empty until that is ready."""
        return self.addresses.get(self.roles[0], "")

    def _read(self) -> None:
        output = self.process.stdout
        assert output is not None
        with self.log.open("w", encoding="utf-8") as log:
            for line in output:
                log.write(line)
                log.flush()
                self._last.append(line.rstrip())
                found = _READY.match(line.rstrip())
                if found and found[1] in self._ready:
                    self.addresses[found[1]] = found[2]
                    self._ready[found[1]].set()

    def wait_ready(
        self, timeout_s: float = READY_TIMEOUT_S, stop: threading.Event | None = None, role: str = ""
    ) -> bool:
        """Wait until it takes events (`role`: one of several); return False if `stop` is set first.

        Raises `Fatal` if it ends first, with its last line, or if the time is over.
        """
        role = role or self.roles[0]
        until = time.monotonic() + timeout_s
        while not self._ready[role].wait(0.05):
            if stop is not None and stop.is_set():
                return False
            self.check()
            if time.monotonic() > until:
                raise Fatal(f"the {role} was not ready after {timeout_s:.0f} s; its output is in {self.log}")
        return True

    def check(self) -> None:
        """Raise `Fatal` with its last line if it has ended."""
        status = self.process.poll()
        if status is not None:
            self._reader.join(timeout=2)
            said = [line for line in self._last if line.startswith("streamwise:")] or list(self._last)
            last = said[-1].removeprefix("streamwise: ") if said else "it printed nothing"
            role, colon, rest = last.partition(": ")
            if not colon or role not in self.roles:  # a role alone in its process does not name itself
                role, rest = ", ".join(self.roles), last
            raise Fatal(f"the {role} ended with status {status}: {rest} (its output is in {self.log})")

    def terminate(self) -> None:
        """Ask it to end, which it does after a last commit."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, timeout_s: float) -> int:
        """Wait until it ends, and kill it after `timeout_s`; return its exit status."""
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
    """Runs all roles, as a context manager that stops them at its end."""

    def __init__(
        self,
        settings: Settings,
        *,
        free_ports: bool = False,
        learner: Sequence[str] = (),
        names: Sequence[str] = ROLES,
        shared: Sequence[str] = (),
    ) -> None:
        """`names`: the roles to start, the server last. `learner`: further arguments of the learner.

        `shared`: those of `names` that run in one process, the server among them; they take no further arguments.
        """
        self._settings, self._arguments, self._names = settings, {"learner": learner}, names
        self._shared = [name for name in names if name in shared]
        self._folder = settings.state.resolve()
        self._environment = environment(settings, free_ports)
        self.running: dict[str, RoleProcess] = {}

    @property
    def addresses(self) -> dict[str, str]:
        """The HTTP address (host:port) of each role that is ready."""
        found: dict[str, str] = {}
        for process in self._processes():
            found |= process.addresses
        return found

    def start(
        self, stop: threading.Event | None = None, told: Callable[[str], None] = lambda role: None
    ) -> bool:
        """Start all, wait for each and call `told(role)` once it is ready; return False if `stop` is set first."""
        last = self._shared or [self._names[-1]]  # the server needs the addresses of the others
        first = [name for name in self._names if name not in last]
        for role in first:
            self._start(role, {})
        if not self._all_ready(first, stop, told):
            return False
        pairs = {"STREAMWISE_ROLES": ",".join(f"{role}={at}" for role, at in self.addresses.items())}
        if self._shared:
            given = {**FEW_ARENAS, **self._environment, **pairs}
            process = RoleProcess(SHARED, self._shared, given, self._folder, roles=self._shared)
            self.running |= dict.fromkeys(self._shared, process)
        else:
            self._start(last[0], pairs)
        if not self._all_ready(last, stop, told):
            return False
        if self._settings.backup_dir:
            self._start(BACKUP, {})
            return self._all_ready([BACKUP], stop, told)
        return True

    def _all_ready(
        self, roles: Sequence[str], stop: threading.Event | None, told: Callable[[str], None]
    ) -> bool:
        for role in roles:
            if not self.running[role].wait_ready(stop=stop, role=role):
                return False
            told(role)
        return True

    def _start(self, role: str, more: Mapping[str, str]) -> None:
        arguments = ["--watch"] if role == BACKUP else self._arguments.get(role, ())
        self.running[role] = RoleProcess(role, arguments, {**self._environment, **more}, self._folder)

    def _processes(self) -> list[RoleProcess]:
        """Return each process once: several roles may share one."""
        return list(dict.fromkeys(self.running.values()))

    def check(self) -> None:
        """Raise `Fatal` if a process has ended."""
        for process in self._processes():
            process.check()

    def stop(self) -> dict[str, int]:
        """End all roles and return their exit statuses.

        The worker ends first, so that learner and ledger still take its last outputs.
        """
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
    """Return the settings as a child's environment, with absolute paths.

    `free_ports`: every port but the page's is a free one.
    """
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
    # children run their parent's code, whatever folder they start in
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**found, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}


def can_read(settings: Settings) -> bool:
    """Return whether the lexicons are installed and the phrases declared."""
    installed = all(importlib.util.find_spec(name) for name in LEXICONS)
    return installed and settings.phrases.is_file()


def _close(pipe: IO[Any] | None) -> None:
    if pipe is not None:
        pipe.close()


def run_first(settings: Settings, stop: threading.Event) -> int:
    """Run the checks before any role in a child process, and return its exit status.

    In this process their imports would stay in memory. The child's standard error is copied to this one's.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "cli", FIRST, TIED],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment(settings, False)},
        text=True,
        start_new_session=True,
    )
    told = threading.Thread(target=_hand_on, args=(child.stderr,), name=FIRST, daemon=True)
    told.start()
    while child.poll() is None:
        if stop.wait(0.05):
            child.terminate()
            child.wait()
    told.join()
    _close(child.stdin)
    _close(child.stderr)
    return 0 if stop.is_set() else child.returncode


def _hand_on(lines: IO[str]) -> None:
    for line in lines:
        sys.stderr.write(line)


def run_together(
    settings: Settings, stop: threading.Event, told: Callable[[str], None], *, apart: bool = False
) -> None:
    """Run all roles until `stop` is set; raise `Fatal` if one of them ends by itself.

    `apart`: each role has a process of its own; otherwise the small ones share one.
    """
    more = [READER] if can_read(settings) else []
    names = [*ROLES[:-1], *more, ROLES[-1]]
    with Supervisor(settings, names=names, shared=() if apart else SMALL) as roles:
        if not apart:
            told(f"in one process: {', '.join(name for name in names if name in SMALL)}")
        if roles.start(stop, lambda role: told(f"{role}: http://{roles.addresses[role]}")):
            while not stop.wait(_CHECK_S):
                roles.check()
