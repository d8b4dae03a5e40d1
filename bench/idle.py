"""Measures what an installation costs while no events arrive: `streamwise bench idle --json`.

It runs `streamwise up` with all roles and twelve partitions on its own Kafka broker. The broker and this process do not
count. When every role is ready and the work of the start is over, it reads the CPU time of the whole process tree
twice, the parent included: the figure is user and system seconds of all threads between the two, in percent of one
core. Memory is the proportional set size at the end: a process's own memory, and its share of what several share.
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
READY_TIMEOUT_S = 300.0  # the roles may have to compile kernels
SETTLE_S = 30.0  # until metadata caches are full, imports are frozen and fetches wait their longest
SECONDS = 60.0
STOP_TIMEOUT_S = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
PARENT = "up"


class Held(NamedTuple):
    """The memory and CPU time of one process, named by the roles that it runs."""

    name: str
    pss_bytes: int
    cpu_s: float


def run(seconds: float = SECONDS, settle_s: float = SETTLE_S) -> dict[str, Any]:
    """Start everything, let it settle for `settle_s`, and measure for `seconds`."""
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
    """Memory and CPU of all processes and of each. Raises `RuntimeError` if the processes changed."""
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
    """Measure a process and all its descendants, by pid."""
    parents: dict[int, int] = {}
    cpu_s: dict[int, float] = {}
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # the process has just ended
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
    raise RuntimeError(f"{folder} has no Pss")


def _name(folder: Path) -> str:
    """The roles that the command line of the process names."""
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
    """Wait until all roles have said that they are ready; raises `RuntimeError` if one does not."""
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
    parser.add_argument("--seconds", type=float, default=SECONDS, help="duration of the measurement")
    parser.add_argument(
        "--settle", type=float, default=SETTLE_S, help="seconds from ready until the measurement"
    )
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
