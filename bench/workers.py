"""Measures what a second worker costs: `streamwise bench workers --json`.

The figure is CPU seconds (user and system, all threads of the worker processes) per million events, of one worker and
of two, on one broker in the same run. Before the measurement the workers are ready, have their partitions and have
folded and committed some events. The bench reads the CPU time, then commits one transaction that makes many events
readable at one moment. It reads the CPU time again when the workers have committed all of them.

All events are ready at once, because one starts a second worker when one does not keep up. Below its capacity a worker
fetches what arrived since its last fetch, so two would make more and smaller fetches for the same events: that would
compare the pace of fetches and the cost of idle workers. The commit interval is one second, so that little idle time
after the last event counts. Events are synthetic (`bench.workload.product_mix`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from agents.topology import topics
from bench.harness import keep, say
from bench.servers import free_ports
from streams.kafka import ensure

from .product import (
    CONFIG,
    CUSTOMERS,
    FIRST_MS,
    PARTITIONS,
    STEP_MS,
    made_snapshots,
    produce,
    publish,
    remove_topics,
)
from .servers import KafkaServer, RedisServer
from .site import Worker, await_committed
from .soak import Watch
from .workload import product_mix as mix

EVENTS = 10_000_000
WARM_UP_EVENTS = 500_000
COMMIT_INTERVAL_S = 1.0
RUNS = 3
JOIN_PATIENCE_S = 120.0
NAMES = {1: "one", 2: "two"}


def run(events: int = EVENTS, runs: int = RUNS) -> dict[str, Any]:
    """Measure one and two workers in turn; the medians count. A first run only warms up the broker."""
    cpu_s: dict[str, list[float]] = {name: [] for name in NAMES.values()}
    rates: dict[str, list[float]] = {name: [] for name in NAMES.values()}
    with KafkaServer() as kafka:
        _measure(kafka.bootstrap, 1, events)
        for number in range(runs):
            for workers in (1, 2) if number % 2 == 0 else (2, 1):
                each, rate = _measure(kafka.bootstrap, workers, events)
                cpu_s[NAMES[workers]].append(each)
                rates[NAMES[workers]].append(rate)
    median = {name: statistics.median(found) for name, found in cpu_s.items()}
    return {
        "events": events,
        "cpu_s_per_million": median,
        "ratio": median["two"] / median["one"],
        "events_per_s": {name: statistics.median(found) for name, found in rates.items()},
        "runs_cpu_s_per_million": cpu_s,
    }


def _measure(bootstrap: str, workers: int, events: int) -> tuple[float, float]:
    """Return CPU seconds per million events of all workers together, and events/s until all are committed."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        remove_topics(bootstrap)
        ensure(bootstrap, topics(list(mix.TOPICS)), partitions=PARTITIONS, replication=1)
        publish(bootstrap, made_snapshots())
        ports = free_ports(workers)
        started = [
            stack.enter_context(
                Worker(
                    bootstrap, redis.url, folder / str(port), CONFIG, PARTITIONS, worker_port=port,
                    commit_interval=COMMIT_INTERVAL_S,
                )
            )
            for port in ports
        ]  # fmt: skip
        for worker in started:
            worker.ready()
        _await_shared([Watch(port) for port in ports])
        chunks = mix.chunks(WARM_UP_EVENTS, CUSTOMERS, first_ms=FIRST_MS, step_ms=STEP_MS, seed=1)
        produce(bootstrap, chunks)
        await_committed(bootstrap, _ends(bootstrap), PARTITIONS)
        before: list[float] = []
        first_ms = FIRST_MS + int(WARM_UP_EVENTS * STEP_MS)
        chunks = mix.chunks(events, CUSTOMERS, first_ms=first_ms, step_ms=STEP_MS)
        produce(bootstrap, chunks, at_once=lambda: before.append(sum(worker.cpu_s() for worker in started)))
        began = time.monotonic()
        await_committed(bootstrap, _ends(bootstrap), PARTITIONS)
        wall_s = time.monotonic() - began
        cpu_s = sum(worker.cpu_s() for worker in started) - before[0]
        for worker in started:
            worker.stop()
    each, rate = cpu_s / events * 1e6, events / wall_s
    say(f"{workers} workers: {each:.3f} CPU s a million, {rate:,.0f} events/s")
    return each, rate


def _await_shared(watches: list[Watch]) -> None:
    """Wait until each worker has an equal share of the partitions, and their rows."""
    until, share = time.monotonic() + JOIN_PATIENCE_S, PARTITIONS // len(watches)
    while not all(watch.status()["partitions"] == share and watch.ready() for watch in watches):
        if time.monotonic() > until:
            raise RuntimeError(
                f"the partitions were not divided among the workers in {JOIN_PATIENCE_S:.0f} s"
            )
        time.sleep(0.2)


def _ends(bootstrap: str) -> int:
    """The sum of the end offsets of the source topics."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    try:
        places = [TopicPartition(topic, number) for topic in mix.TOPICS for number in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(place, 10)[1] for place in places)
    finally:
        consumer.close()


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each; the medians count")
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    given = parser.parse_args(argv)
    figures = run(given.events, given.runs)
    keep("workers", figures)
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
