"""Measures how long partitions of a killed worker wait for service: `streamwise bench failover --json`.

Two workers share the partitions of a million customers under a steady load, each with a standby copy of the other's
rows (`STREAMWISE_STANDBYS=1`). The bench kills one (kill -9). Kafka removes a silent member after the session timeout,
6 s. `standby_gap_s` is the time beyond it until every partition of the dead worker has an alert again, by the broker's
timestamps. `restore_s`: a worker without any rows starts alone and reads all of them from the changelog; the time from
its start until it is ready, imports included. Events are synthetic (`bench.workload.product_mix`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from typing import Any

from bench.harness import keep, say
from schemas.topics import ALERTS
from streams.transport import SESSION_TIMEOUT_S

from .load import start_load
from .site import Site, Worker, await_committed, read

PARTITIONS = 12
CUSTOMERS = 1_000_000
RATE = 20_000
BEFORE_S = 20.0  # the load runs this long before the kill
AFTER_S = 40.0


def run(customers: int = CUSTOMERS) -> dict[str, Any]:
    """Kill a worker that has a standby, then restore one without."""
    with ExitStack() as stack:
        site = Site(stack, customers, PARTITIONS)
        first = site.worker("first", standbys=1)
        first.ready()
        await_committed(site.bootstrap, customers, PARTITIONS)
        second = site.worker("second", standbys=1)
        second.ready()
        gap_s = _kill_under_load(site.bootstrap, first, customers)
        second.stop()
        third = site.worker("third", standbys=0)
        restore_s = third.ready()
        say(f"restored in {restore_s:.1f} s")
        third.stop()
    return {"customers": customers, "standby_gap_s": gap_s, "restore_s": restore_s}


def _kill_under_load(bootstrap: str, worker: Worker, customers: int) -> float:
    """Seconds beyond the session timeout until every partition of the killed worker has an alert again."""
    loading = start_load(bootstrap, RATE, BEFORE_S + AFTER_S, customers, PARTITIONS)
    time.sleep(BEFORE_S)
    killed_ms = time.time() * 1000
    worker.kill()
    loading.result()
    stamps = _alert_stamps(bootstrap)
    longest: dict[int, float] = {}
    for number, times in stamps.items():
        first = min((stamp for stamp in times if stamp > killed_ms + 1000), default=float("inf"))
        longest[number] = (first - killed_ms) / 1000
    orphans = sorted(gap for gap in longest.values() if gap > 2.0)  # the other partitions had no gap
    if not orphans:
        raise RuntimeError("the killed worker had no partition, so the second one took over none")
    say(f"without alerts after the kill, s: {' '.join(f'{gap:.2f}' for gap in orphans)}")
    return orphans[-1] - SESSION_TIMEOUT_S


def _alert_stamps(bootstrap: str) -> dict[int, list[int]]:
    """The append times of the alerts, by partition (ms)."""
    found: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}
    for message in read(bootstrap, ALERTS, PARTITIONS):
        found[message.partition()].append(message.timestamp()[1])
    return found


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    given = parser.parse_args(argv)
    figures = run(given.customers)
    keep("failover", figures)
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
