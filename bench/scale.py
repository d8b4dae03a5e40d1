"""Measures one worker with ten thousand, a million and ten million customers: `streamwise bench scale --json`.

The worker is that of `bench.product`, with a commit cycle every four seconds. Each size has its own topics. First comes
an untimed event for every customer, over three days of event time. When the worker has folded and committed these and
no view waits, it pauses while the timed events are produced, then processes them from full topics. The figures include
the commit cycles and views that happen meanwhile; `committed_s` and `all_views_s` are the times from the last event
until everything is committed and every view written. A customer has as many events per hour at each size, so with more
customers each has fewer events. Redis keeps one gigabyte of views and evicts the oldest. Events are synthetic
(`bench.workload.product_mix`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from agents.topology import topics
from bench.harness import keep, say
from streams.kafka import ensure

from .product import FIRST_MS, PARTITIONS, STEP_MS, made_snapshots, measure, produce, publish, remove_topics
from .servers import KafkaServer, RedisServer
from .workload import product_mix as mix

SIZES = (10_000, 1_000_000, 10_000_000)
EVENTS = 4_000_000
FIRST_SIGHT_MS = (
    72 * 3_600_000
)  # as long as the shipped models wait for a purchase: examples are due at any time
REDIS = ("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru")
COMMIT_INTERVAL_S = 4.0


def run(sizes: tuple[int, ...] = SIZES, events: int = EVENTS) -> dict[str, Any]:
    """Measure each number of customers on one broker, after a run that warms it up and does not count."""
    found: dict[str, Any] = {}
    with KafkaServer() as kafka:
        for number, customers in enumerate((sizes[0], *sizes)):
            figures = _measure(kafka.bootstrap, customers, events)
            rate, memory = figures["events_per_s"], figures["rss_bytes"] / 1e9
            after = (
                f"{figures['committed_s']:.1f} s later committed, {figures['all_views_s']:.1f} s all views"
            )
            warming = "" if number else " (warms up)"
            say(f"{customers:,} customers: {rate:,.0f} events/s, {memory:.2f} GB; {after}{warming}")
            found[str(customers)] = figures
    return {"customers": found}


def first_sight(customers: int, *, first_ms: int, seed: int = mix.SEED) -> Iterator[list[mix.Encoded]]:
    """An event for each customer, over `FIRST_SIGHT_MS` from `first_ms` on."""
    step_ms = FIRST_SIGHT_MS / customers
    return mix.chunks(customers, customers, first_ms=first_ms, step_ms=step_ms, seed=seed, in_turn=True)


def _measure(bootstrap: str, customers: int, events: int) -> dict[str, Any]:
    """Measure one number of customers, on its own topics."""
    before = first_sight(customers, first_ms=FIRST_MS, seed=1)
    step_ms = STEP_MS * SIZES[0] / customers
    timed = mix.chunks(events, customers, first_ms=FIRST_MS + FIRST_SIGHT_MS, step_ms=step_ms)

    def settled() -> None:
        say(f"{customers:,} customers have rows; the timed events follow")
        produce(bootstrap, timed)

    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(options=REDIS))
        remove_topics(bootstrap)
        say(f"an event for each of {customers:,} customers")
        ensure(bootstrap, topics(list(mix.TOPICS)), partitions=PARTITIONS, replication=1)
        produce(bootstrap, before)
        publish(bootstrap, made_snapshots())
        options = ["--before", str(customers), "--commit-interval", str(COMMIT_INTERVAL_S)]
        return measure(stack, bootstrap, redis.url, events, options, settled)


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", default=",".join(map(str, SIZES)), help="sizes, with commas")
    parser.add_argument("--events", type=int, default=EVENTS, help="number of timed events at each size")
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    given = parser.parse_args(argv)
    figures = run(tuple(int(size) for size in given.customers.split(",")), given.events)
    keep("scale", figures)
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
