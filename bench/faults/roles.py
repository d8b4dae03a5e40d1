"""The roles as processes, and a supervisor that restarts each about a second after it ends, like systemd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESTART_S = 1.0
LOOK_S = 0.1
STOP_S = 15.0


class Role:
    """A process that should run if `wanted`. Its standard output and error go to `log`."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name, self.log = name, log
        self._command = [sys.executable, "-m", "bench.faults.role_process", *arguments]
        self._environment = {**os.environ, **environment}
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._again_at = 0.0
        self.wanted = False
        self.stopped = False  # by SIGSTOP
        self.starts = 0
        self.failpoint = ""  # for the next start only

    def start(self) -> None:
        """Start the role, and keep it wanted."""
        with self._lock:
            self.wanted = True
            if self._process is None:
                self._start()

    def _start(self) -> None:
        extra = ["--failpoint", self.failpoint] if self.failpoint else []
        self.failpoint = ""
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(b"--- start %d %s\n" % (self.starts, " ".join(extra).encode()))
            log.flush()
            self._process = subprocess.Popen(
                [*self._command, *extra],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the process runs."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)
                self.stopped = number is signal.SIGSTOP or (self.stopped and number is not signal.SIGCONT)

    def tend(self) -> None:
        """Restart the process if it has ended and is wanted."""
        with self._lock:
            now = time.monotonic()
            if self._process is not None and self._process.poll() is not None:
                status = self._process.returncode
                self._forget()
                self._again_at = now + RESTART_S
                with self.log.open("ab") as log:
                    log.write(b"--- ended with %d\n" % status)
            if self.wanted and self._process is None and now >= self._again_at:
                self._start()

    def end(self, how: signal.Signals = signal.SIGTERM, patience_s: float = STOP_S) -> int | None:
        """End the process for good; return its status (None: it did not run)."""
        with self._lock:
            self.wanted = False
            process = self._process
        if process is None:
            return None
        self.send(how)
        if self.stopped:
            self.send(signal.SIGCONT)
        try:
            status = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        with self._lock:
            self._forget()
        return status

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process, self.stopped = None, False

    def ready(self) -> bool:
        """Whether it runs and has said that it is ready since its last start."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
        text = self.log.read_text(errors="replace")
        return " ready" in text.rpartition("--- start")[2]


class Supervisor:
    """Restarts roles that have ended, in a thread."""

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self.roles = dict(roles)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> Supervisor:
        """Start the thread."""
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            for role in self.roles.values():
                role.tend()

    def wait_ready(self, patience_s: float = 90.0) -> None:
        """Wait until every wanted role has said that it is ready."""
        until = time.monotonic() + patience_s
        waiting = {name for name, role in self.roles.items() if role.wanted}
        while waiting:
            waiting = {name for name in waiting if not self.roles[name].ready()}
            if time.monotonic() > until:
                raise RuntimeError(
                    f"not ready in {patience_s:.0f} s: {', '.join(sorted(waiting))}; see their logs"
                )
            time.sleep(LOOK_S)

    def kill(self) -> None:
        """Kill every role that still runs."""
        self._stop.set()
        for role in self.roles.values():
            role.end(signal.SIGKILL)

    def end(self) -> None:
        """Stop the thread, and end all roles."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for role in self.roles.values():
            if role.stopped:
                role.send(signal.SIGCONT)
            role.send(signal.SIGTERM)
        for role in self.roles.values():
            role.end()
