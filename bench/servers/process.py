"""Runs a server as a child process: free port, data directory, start, wait until it answers, stop."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.errors import Fatal

HOST = "127.0.0.1"
LASTING = 15_000, 32_000  # below the ephemeral ports of Linux

START_TIMEOUT_S = 60.0
# A broker with open group sessions takes a few seconds to exit.
STOP_TIMEOUT_S = 15.0

_ERROR = re.compile(r"ERROR|FATAL|Error:|Exception:")

DEBIAN_PACKAGES = {
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "redis-server": "redis-server",
    "runuser": "util-linux",
}


class ServerError(Fatal):
    """A server could not be started or stopped; the message is one line that says what to do."""


class Missing(ServerError):
    """A program that a server needs is not installed, so a retry does not help."""


def require(program: str) -> str:
    """Return the path of `program`; raise a `Missing` that names its Debian package if there is none."""
    path = shutil.which(program)
    if path is None:
        package = DEBIAN_PACKAGES[program]
        raise Missing(f"{program} is missing: install it with `apt-get install {package}`")
    return path


def end_on_sigterm() -> None:
    """Make SIGTERM end this process in the normal way, so that the servers that it started end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_ports(count: int) -> list[int]:
    """Return free ports of 127.0.0.1. All processes of a user share a sequence: no port repeats before all others
    were given.

    A port stays free until its server has started, so random draws now and then gave two servers the same. No port is
    an ephemeral one: while a server is down, a client that tries to reach it would sooner or later get its port.
    """
    found: list[int] = []
    with (Path(tempfile.gettempdir()) / f"streamwise-ports-{os.getuid()}").open(
        "a+", encoding="ascii"
    ) as given:
        fcntl.flock(given, fcntl.LOCK_EX)  # until the file is closed
        given.seek(0)
        last = int(given.read() or random.randrange(*LASTING))
        while len(found) < count:
            last = last + 1 if last + 1 < LASTING[1] else LASTING[0]
            with socket.socket() as one, suppress(OSError):  # taken
                one.bind((HOST, last))
                found.append(last)
        given.truncate(0)
        given.write(str(last))
    return found


class Server:
    """A child process with its own data directory, and one port that answers when it is up."""

    name = "server"

    def __init__(self, port: int | None, data_dir: Path | None) -> None:
        self.port = port if port is not None else free_ports(1)[0]
        self._given_dir = data_dir
        self._scratch: Path | None = None  # parent of a temporary data directory; None: the default place
        self._data_dir: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"{self.name} is not running: call start() first")
        return self._process.pid

    @property
    def data_dir(self) -> Path:
        if self._data_dir is None:
            raise ServerError(f"{self.name} has no data directory: call start() first")
        return self._data_dir

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> Self:
        """Start the server and wait until it answers; a failure leaves nothing behind."""
        if self._process is not None:
            raise ServerError(f"{self.name} is already running at {self.address}")
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self.port)) == 0:
                raise ServerError(f"port {self.port} is in use: choose another one for {self.name}")
        try:
            if self._data_dir is None:
                self._data_dir = self._given_dir or Path(
                    tempfile.mkdtemp(prefix=f"{self.name}-", dir=self._scratch)
                )
            self._data_dir.mkdir(parents=True, exist_ok=True)
            command = self._prepare(self._data_dir)
            with self._log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._data_dir,
                    # A Ctrl-C in the terminal goes to the caller, who then stops the server. This is no new session:
                    # Linux shares the cores among sessions first (autogroup), so threads of its clients would wait
                    # while a server in another session uses its share.
                    process_group=0,
                )
            self._wait_until_up(self._process)
        except OSError as error:
            self.stop()
            raise ServerError(
                f"{self.name} cannot be started: {_described(error)}: mend that and start again"
            ) from error
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server, and remove its data directory unless the caller gave one."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._data_dir is not None and self._given_dir is None:
            shutil.rmtree(self._data_dir, ignore_errors=True)
        self._data_dir = None

    def kill(self) -> None:
        """Kill the server, as a crash would. Its data directory stays, and `start` uses it again."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def detach(self) -> int:
        """Let the server run on after this process; return its process id."""
        process, self._process, self._data_dir = self._process, None, None
        if process is None:
            raise ServerError(f"{self.name} is not running: call start() first")
        # Popen warns about a child that still runs when its object is deleted; here that is intended.
        process.returncode = 0
        return process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _log_path(self) -> Path:
        return self.data_dir / f"{self.name}.log"

    def _prepare(self, data_dir: Path) -> list[str]:
        """Prepare the data directory, and return the command that starts the server."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server answers a client properly now."""
        raise NotImplementedError

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if process.poll() is not None:
                raise ServerError(
                    f"{self.name} ended at once: {_cause(self._log_path)}: mend that and start again"
                )
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} did not answer at {self.address} in {START_TIMEOUT_S:.0f} s, and says: "
                    f"{_cause(self._log_path)}: see what else keeps this machine busy and start again"
                )
            time.sleep(0.1)


def run_once(command: list[str], what: str, folder: Path | None = None) -> None:
    """Run a command to its end in `folder`; raise a ServerError that says why it failed."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", cwd=folder
        )
    except OSError as error:
        raise ServerError(f"{what} failed: {_described(error)}: mend that and start again") from error
    if done.returncode != 0:
        raise ServerError(f"{what} failed: {_cause_in(done.stdout + done.stderr)}: mend that and start again")


def _cause(log: Path) -> str:
    return _cause_in(log.read_text(errors="replace"))


def _cause_in(output: str) -> str:
    """The first line with an error, as the last line may be deep in a stack trace."""
    lines = output.strip().splitlines() or ["it printed nothing"]
    return next((line for line in lines if _ERROR.search(line)), lines[-1]).strip()


def _described(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
