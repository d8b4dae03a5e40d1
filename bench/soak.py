"""Runs half an hour at 80% of capacity, with three bursts: `streamwise bench soak --json`.

The worker and the ledger run on one broker with Redis and SQLite. Producer, broker and all else share the machine's
cores, so the bench first measures capacity under the same conditions: it produces events as fast as possible, and
divides their number by the time until worker and ledger have no lag. Then the load is steady at 80% of that. Three
times it doubles for ten seconds, with events encoded before the clock starts, as encoding would take the cores that
the burst is to load. `burst_events_per_s` is the rate reached, and `drained_s` the time after each burst until the lag
of both roles is at most one second's events. Memory is the worker's resident memory, from the kernel. Topics keep
100 MB per partition, Redis 1 GB. Events are synthetic (`bench.workload.product_mix`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from agents.topology import topics
from bench.harness import keep, resident_bytes, say
from bench.servers import free_ports
from bench.workload import Encoded
from streams.kafka import ensure

from .product import made_snapshots, publish
from .scale import REDIS
from .servers import KafkaServer, RedisServer
from .site import Worker, configured
from .workload import product_mix as mix

PARTITIONS = 4
CUSTOMERS = 100_000
MINUTES = 30.0
SHARE = 0.8
FLOOD_S = 40.0  # the second half counts, and the lag that it leaves
BURST_S = 10.0
BURSTS_AT = (0.3, 0.5, 0.7)  # as shares of the whole time
EARLY_MIN = 5.0
CHUNK = 20_000
KEPT = {
    "log.retention.bytes": str(100 << 20), "log.segment.bytes": str(32 << 20),
    "log.retention.check.interval.ms": "5000", "log.cleaner.min.cleanable.ratio": "0.3",
    "log.cleaner.backoff.ms": "5000", "log.segment.delete.delay.ms": "1000",
}  # fmt: skip


class Load(threading.Thread):
    """Produces `bench.workload.product_mix` in real time at `rate` events/s; `inf` means as fast as possible.

    `first`: the number of its first chunk. `sent`: the number of events so far. `burst`: encoded events that go before
    all others, at twice the rate.
    """

    def __init__(self, bootstrap: str, rate: float, first: int = 0) -> None:
        super().__init__(daemon=True)
        self.rate = rate
        self.first = first
        self.sent = 0
        self.burst: deque[list[Encoded]] = deque()
        self.error: BaseException | None = None
        self._ended = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "compression.type": "lz4",
                "linger.ms": 10, "batch.num.messages": 10_000, "queue.buffering.max.messages": 400_000, "acks": "1",
            }
        )  # fmt: skip

    def run(self) -> None:
        try:
            self._produce()
        except BaseException as error:  # `check` raises it
            self.error = error

    def check(self) -> None:
        """Raise the error that ended the load, if any."""
        if self.error is not None:
            raise RuntimeError(f"the load ended: {self.error}") from self.error

    def stop(self) -> None:
        """End the load."""
        self._ended.set()
        self.join()

    def _produce(self) -> None:
        producer, due = self._producer, time.monotonic()
        numbers = count(self.first)
        while True:
            rate = 2 * self.rate if self.burst else self.rate
            chunk = self.burst.popleft() if self.burst else _chunk(next(numbers), time.time() * 1000, rate)
            for part in chunk:
                messages = [{"key": k, "value": v} for k, v in zip(part.keys, part.values, strict=True)]
                while len(producer) > 200_000:
                    producer.poll(0.005)
                if producer.produce_batch(part.topic, messages) != len(messages):
                    raise RuntimeError("the producer's queue refused events")
            self.sent += CHUNK
            producer.poll(0)
            due = max(due + CHUNK / rate, time.monotonic() - 1.0)
            if self._ended.wait(max(0.0, due - time.monotonic())):
                producer.flush(30)
                return


def _chunk(number: int, first_ms: float, rate: float) -> list[Encoded]:
    return mix.part(number, CHUNK, CUSTOMERS, first_ms=first_ms, step_ms=1000.0 / min(rate, 1e6))


class Watch:
    """Reads the status of a role over HTTP."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._url}/status", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def ready(self) -> bool:
        """Whether its rows are restored, after the last rebalance too."""
        try:
            with urllib.request.urlopen(f"{self._url}/readyz", timeout=10):
                return True
        except urllib.error.HTTPError:
            return False

    def lag(self) -> int:
        return sum(self.status()["lag"].values())


def run(minutes: float = MINUTES) -> dict[str, Any]:
    """Measure the capacity, then hold 80% of it."""
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaServer(properties=KEPT))
        redis = stack.enter_context(RedisServer(options=REDIS))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ensure(kafka.bootstrap, topics(list(mix.TOPICS)), partitions=PARTITIONS, replication=1)
        publish(kafka.bootstrap, made_snapshots())
        worker_port, ledger_port = free_ports(2)
        config = configured(folder)
        worker = Worker(
            kafka.bootstrap, redis.url, folder / "worker", config, PARTITIONS, worker_port=worker_port
        )
        stack.enter_context(worker)
        stack.callback(_end, _ledger(kafka.bootstrap, folder / "ledger", ledger_port))
        worker.ready()
        watch, ledger = Watch(worker_port), Watch(ledger_port)
        flood = Load(kafka.bootstrap, float("inf"))
        capacity = _capacity(flood, watch, ledger)
        say(f"capacity {capacity:,.0f} events/s")
        made = flood.sent // CHUNK
        chunks = int(BURST_S * 2 * SHARE * capacity / CHUNK)  # in a burst
        load = Load(kafka.bootstrap, SHARE * capacity, first=made + chunks * len(BURSTS_AT))
        bursts = [
            _burst(load, made + n * chunks, chunks, 60 * minutes * at) for n, at in enumerate(BURSTS_AT)
        ]
        load.start()
        stack.callback(load.stop)
        figures = _hold((watch, ledger), load, worker.process.pid, minutes, bursts)
    return {"minutes": minutes, "capacity_events_per_s": capacity, **figures}


def _capacity(flood: Load, worker: Watch, ledger: Watch) -> float:
    flood.start()
    time.sleep(FLOOD_S / 2)
    first, began = worker.status()["events"], time.monotonic()
    time.sleep(FLOOD_S / 2)
    flood.stop()
    flood.check()
    behind = worker.lag(), ledger.lag()
    for role in (worker, ledger):
        _await_lag(role, 0, 600.0)
    say(f"the flood left worker {behind[0]:,} and ledger {behind[1]:,} behind")
    return float((worker.status()["events"] - first) / (time.monotonic() - began))


def _burst(load: Load, first: int, chunks: int, in_s: float) -> list[list[Encoded]]:
    """Encode the events of one burst, to be sent `in_s` seconds from now."""
    began_ms, rate = 1000.0 * (time.time() + in_s), 2 * load.rate
    return [_chunk(first + n, began_ms + 1000.0 * n * CHUNK / rate, rate) for n in range(chunks)]


def _hold(
    roles: tuple[Watch, Watch], load: Load, pid: int, minutes: float, bursts: list[list[list[Encoded]]]
) -> dict[str, Any]:
    began = time.monotonic()
    rates: list[float] = []
    drained: list[float] = []
    early = 0
    while (elapsed_s := time.monotonic() - began) < 60 * minutes:
        load.check()
        if not early and elapsed_s >= 60 * min(EARLY_MIN, minutes / 6):
            early = resident_bytes(pid)
            say(f"minute {elapsed_s / 60:.1f}: {early / 1e6:,.0f} MB")
        if bursts and elapsed_s >= 60 * minutes * BURSTS_AT[len(rates)]:
            rates.append(_rate(load, bursts.pop(0)))
            behind = [role.lag() for role in roles]
            drained.append(sum(_await_lag(role, load.rate, 300.0) for role in roles))
            say(
                f"minute {elapsed_s / 60:.1f}: a burst of {rates[-1]:,.0f} events/s, worker {behind[0]:,} and ledger "
                f"{behind[1]:,} behind, drained after {drained[-1]:.0f} s"
            )
        time.sleep(1.0)
    return {
        "rss_5min_bytes": early,
        "rss_end_bytes": resident_bytes(pid),
        "events_per_s": load.sent / (time.monotonic() - began),
        "burst_events_per_s": rates,
        "drained_s": drained,
    }


def _rate(load: Load, burst: list[list[Encoded]]) -> float:
    """Send a burst; return the events/s that it reached."""
    first, began = load.sent, time.monotonic()
    load.burst.extend(burst)
    while load.burst:
        load.check()
        time.sleep(0.1)
    return (load.sent - first) / (time.monotonic() - began)


def _await_lag(role: Watch, events: float, patience_s: float) -> float:
    """Wait until the lag is at most `events`; return the seconds that it took."""
    began = time.monotonic()
    while role.lag() > events:
        if time.monotonic() - began > patience_s:
            raise RuntimeError(f"the lag was not drained in {patience_s:.0f} s")
        time.sleep(0.5)
    return time.monotonic() - began


def _ledger(bootstrap: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ, "STREAMWISE_KAFKA": bootstrap, "STREAMWISE_STATE": str(folder),
        "STREAMWISE_PARTITIONS": str(PARTITIONS), "STREAMWISE_LEDGER_PORT": str(port),
    }  # fmt: skip
    command = [sys.executable, "-m", "cli", "ledger"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    given = parser.parse_args(argv)
    figures = run(given.minutes)
    keep("soak", figures)
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
