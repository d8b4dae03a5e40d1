"""What an installation costs while nothing comes: `streamwise bench idle --json`.

`streamwise up` with all roles, twelve partitions and a Kafka broker of its own, which does not count, nor does this
process. When every role is ready and what the start has to do is over, the CPU of the whole tree of processes, the
parent included, is read twice: user and system seconds of all threads between the two, in percent of one core. Memory
is the proportional set size at the end: what a process has alone, and its part of what several share.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bench.harness import keep, say
from bench.servers import KafkaServer, free_ports

PARTITIONS = 12
ROLES = ("worker", "learner", "ledger", "analyst", "reader", "server")
READY_TIMEOUT_S = 300.0  # kernels may have to be compiled
SETTLE_S = (
    30.0  # caches of metadata are filled, what was imported is frozen, fetches wait as long as they may
)
SECONDS = 60.0
STOP_TIMEOUT_S = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
PARENT = "up"


class Held(NamedTuple):
    """One process, by the name of what it runs."""

    name: str
    pss_bytes: int
    cpu_s: float


def run(seconds: float = SECONDS, settle_s: float = SETTLE_S) -> dict[str, Any]:
    """Start everything, let it come to rest, and measure for so long."""
    with KafkaServer() as kafka, tempfile.TemporaryDirectory() as folder:
        process = _start(kafka.bootstrap, Path(folder))
        try:
            roles = _await_ready(process)
            say(f"{', '.join(roles)} are ready; measured after {settle_s:.0f} s, for {seconds:.0f} s")
            time.sleep(settle_s)
            before, began = held(process.pid), time.monotonic()
            time.sleep(seconds)
            after, took_s = held(process.pid), time.monotonic() - began
        finally:
            _stop(process)
    return {"roles": roles, **figures(before, after, took_s)}


def figures(before: Mapping[int, Held], after: Mapping[int, Held], took_s: float) -> dict[str, Any]:
    """What all hold together and use, and each process. Raises `RuntimeError` when they are not the same ones."""
    if before.keys() != after.keys():
        raise RuntimeError(f"processes came or went while they were measured: {before} and then {after}")
    processes = {
        one.name: {
            "pss_bytes": one.pss_bytes,
            "cpu_percent": round(100 * (one.cpu_s - before[pid].cpu_s) / took_s, 2),
        }
        for pid, one in after.items()
    }
    cpu_s = sum(one.cpu_s - before[pid].cpu_s for pid, one in after.items())
    return {
        "pss_bytes": sum(one.pss_bytes for one in after.values()),
        "cpu_percent": round(100 * cpu_s / took_s, 2),
        "processes": processes,
    }


def held(root: int, proc: Path = Path("/proc")) -> dict[int, Held]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    cpu_s: dict[int, float] = {}
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has just ended
                stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                fields = stat.rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                cpu_s[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return {pid: Held(_name(proc / str(pid)), _pss_bytes(proc / str(pid)), cpu_s[pid]) for pid in family}


def _pss_bytes(folder: Path) -> int:
    for line in (folder / "smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"{folder} does not tell its Pss")


def _name(folder: Path) -> str:
    """The roles that its command line names."""
    words = (folder / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return " + ".join(word for word in words if word in (*ROLES, PARENT))


def _start(bootstrap: str, folder: Path) -> subprocess.Popen[str]:
    names = [f"{role}_port" for role in ROLES]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    named = {
        "kafka": bootstrap,
        "state": folder / "state",
        "partitions": PARTITIONS,
        "redis": "memory://",
        **ports,
    }
    environment = {f"STREAMWISE_{name.upper()}": str(value) for name, value in named.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", PARENT],
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def _await_ready(process: subprocess.Popen[str]) -> list[str]:
    """The roles that say that they are; raises `RuntimeError` unless all do."""
    assert process.stdout is not None
    late = threading.Timer(READY_TIMEOUT_S, process.terminate)
    late.start()
    roles: list[str] = []
    try:
        for line in process.stdout:
            name = line.partition(":")[0]
            if name in ROLES and name not in roles:
                roles.append(name)
            if len(roles) == len(ROLES):
                return roles
    finally:
        late.cancel()
    missing = ", ".join(role for role in ROLES if role not in roles)
    raise RuntimeError(
        f"`streamwise up` ended, or was not ready in {READY_TIMEOUT_S:.0f} s, without {missing}"
    )


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()  # its roles end with it
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="measured for so long")
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds between ready and measured")
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    given = parser.parse_args(argv)
    found = run(given.seconds, given.settle)
    for name, one in found["processes"].items():
        say(f"{name}: {one['pss_bytes'] / 1e6:.0f} MB, {one['cpu_percent']:.1f}% of a core")
    keep("idle", found)
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
