"""Measures the latency from the append of an event to the append of its alert: `streamwise bench latency --json`.

The worker runs the shipped configuration and the measured policy (`bench.site`); events arrive at a steady rate. Three
settings have 10,000 customers: 1,000 and 100,000 events/s over all source topics, and 100,000 web events/s while the
other source topics are silent. One has a million customers, all known to the worker before, at 100,000 events/s, while
everything that can disturb it happens: commit cycles, a second worker that has just joined and reads the rows of its
standbys, a new model snapshot, and a backup. The broker has served a backup before, as its JVM compiles code at first
use.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import keep, say
from bench.servers import free_ports

from .load import start_load
from .product import made_snapshots, publish
from .servers import KafkaServer, RedisServer
from .site import PATIENCE_S, Site, Worker, await_committed, configured, latencies, make_topics
from .soak import Watch

PARTITIONS = 4
CUSTOMERS = 10_000
WARM_UP_S = 15.0  # the JVM of the broker compiles, rows and buffers grow
SECONDS = 20.0
LONG_WARM_UP_S = 40.0  # standbys and commit cycles of a million rows give it more to compile
JOIN_S = 35.0  # at most, until a second worker has joined and the events that waited meanwhile are folded
RUNS = 3
SETTINGS = {"1000": (1_000, None), "100000": (100_000, None), "100000_others_silent": (100_000, 0)}
MILLION = "100000_million_customers"
MANY = 1_000_000
RATE = 100_000
STRETCHES = ("a standby is kept", "a model is adopted", "a backup runs")


def run(settings: list[str], seconds: float = SECONDS, runs: int = RUNS) -> dict[str, dict[str, Any]]:
    """Measure each setting `runs` times; the run with the median p99 counts."""
    figures = {}
    for name in settings:
        measure = _measure_many if name == MILLION else _measure
        found = sorted((measure(name, seconds) for _ in range(runs)), key=lambda one: one["p99_ms"])
        figures[name] = {**found[(runs - 1) // 2], "runs_p99_ms": [one["p99_ms"] for one in found]}
    return figures


def _measure(name: str, seconds: float) -> dict[str, float]:
    """Measure one setting on its own broker and worker."""
    rate, only = SETTINGS[name]
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaServer())
        redis = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_topics(kafka.bootstrap, PARTITIONS)
        publish(kafka.bootstrap, made_snapshots())
        worker = Worker(kafka.bootstrap, redis.url, folder / "worker", configured(folder), PARTITIONS)
        stack.enter_context(worker)
        worker.ready()
        loading = start_load(kafka.bootstrap, rate, WARM_UP_S + seconds, CUSTOMERS, PARTITIONS, only)
        began_ms = time.time() * 1000
        loading.result()
        time.sleep(2.0)  # the last alerts arrive
        worker.stop()
        found = latencies(kafka.bootstrap, began_ms + WARM_UP_S * 1000, PARTITIONS)
    figures = _figures(found[:, 1])
    say(f"latency at {name}: {figures}")
    return figures


def _measure_many(name: str, seconds: float) -> dict[str, Any]:
    """Measure a million customers with all disturbances, from when the second worker is ready.

    `while` has the figures of each stretch, named by the disturbance that begins with it; the earlier ones go on.
    """
    with ExitStack() as stack:
        site = Site(stack, MANY, PARTITIONS)
        ports = free_ports(2)
        first = site.worker("first", standbys=1, worker_port=ports[0])
        first.ready()
        newer = made_snapshots(version=2)  # before the measurement, as fitting trees uses all cores
        await_committed(site.bootstrap, MANY, PARTITIONS)
        _finish(_back_up(site, "yesterday"))
        loading = start_load(site.bootstrap, RATE, LONG_WARM_UP_S + JOIN_S + seconds, MANY, PARTITIONS)
        time.sleep(LONG_WARM_UP_S)
        join_by = time.monotonic() + JOIN_S
        second = site.worker("second", standbys=1, worker_port=ports[1])
        second.ready()  # it reads the rows of its standbys from now on
        _await_followed([Watch(port) for port in ports], 0.05 * RATE, join_by)
        began_ms = [time.time() * 1000]
        time.sleep(seconds / 4)
        began_ms.append(time.time() * 1000)
        publish(site.bootstrap, newer)
        time.sleep(seconds / 4)
        began_ms.append(time.time() * 1000)
        backed_up = _back_up(site, "today")
        loading.result()
        time.sleep(2.0)
        _finish(backed_up)
        first.stop()
        second.stop()
        found = latencies(site.bootstrap, began_ms[0], PARTITIONS)
    stretch = np.searchsorted(began_ms, found[:, 0], side="right") - 1
    parts = {what: _figures(found[stretch == number, 1]) for number, what in enumerate(STRETCHES)}
    figures = {**_figures(found[:, 1]), "while": parts}
    say(f"latency at {name}: {figures}")
    return figures


def _await_followed(workers: list[Watch], events: float, until: float) -> None:
    """Wait until the lag is at most `events` for two seconds: then the events of the rebalance are folded."""
    since = time.monotonic()
    while time.monotonic() - since < 2.0:
        if not all(worker.ready() for worker in workers) or sum(worker.lag() for worker in workers) > events:
            since = time.monotonic()
        if time.monotonic() > until:
            raise RuntimeError(
                f"the events that waited for the second worker were not folded in {JOIN_S:.0f} s"
            )
        time.sleep(0.1)


def _back_up(site: Site, name: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ, "STREAMWISE_KAFKA": site.bootstrap, "STREAMWISE_STATE": str(site.folder / "ledger"),
        "STREAMWISE_PARTITIONS": str(PARTITIONS), "STREAMWISE_CONFIG": str(site.folder / "config"),
    }  # fmt: skip
    command = [sys.executable, "-m", "cli", "backup", str(site.folder / f"{name}.backup"), "--json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _finish(backup: subprocess.Popen[bytes]) -> None:
    if backup.wait(PATIENCE_S):
        raise RuntimeError(f"the backup failed with status {backup.returncode}")


def _figures(found: Any) -> dict[str, float]:
    if not len(found):
        raise RuntimeError("no alert arrived: the worker did not keep up")
    p50, p99, p999 = np.percentile(found, [50, 99, 99.9]).tolist()
    return {
        "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": float(found.max()), "alerts": len(found)
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--settings",
        default=",".join([*SETTINGS, MILLION]),
        help="which of " + ", ".join([*SETTINGS, MILLION]),
    )
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each setting; the median counts")
    given = parser.parse_args(argv)
    figures = run(given.settings.split(","), given.seconds, given.runs)
    keep("latency", figures)
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
