"""A live installation for benches: topics with broker timestamps, a measured policy, workers, latencies.

A real Kafka stamps source events and alerts when it appends them (LogAppendTime, milliseconds of one clock). So a
latency is the difference of two of its timestamps, and includes fetching, the pass and producing. The policy gives an
alert for about 0.6% of the events of `bench.workload.product_mix` (synthetic).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import schemas
from agents.processes import READY_LINE
from agents.topology import WORKER as GROUP
from agents.topology import topics
from schemas.topics import ALERTS, OFFERS
from streams.kafka import ensure

from .product import CONFIG, made_snapshots, produce, publish
from .scale import FIRST_SIGHT_MS, REDIS, first_sight
from .servers import KafkaServer, RedisServer
from .workload import product_mix as mix

POLICY = "spotted"
STOP_TIMEOUT_S = 20.0
PATIENCE_S = 300.0
BEFORE_NOW_MS = 3_600_000  # first events are this old; a load has the current time


def make_topics(bootstrap: str, partitions: int) -> None:
    """Create all topics; the broker stamps sources and decisions."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    stamped = {"message.timestamp.type": "LogAppendTime"}
    new = [NewTopic(name, partitions, 1, config=stamped) for name in (*mix.TOPICS, ALERTS, OFFERS)]
    for future in admin.create_topics(new).values():
        future.result(30)
    ensure(bootstrap, topics(list(mix.TOPICS)), partitions=partitions, replication=1)


def configured(folder: Path) -> Path:
    """Write the shipped configuration with the measured policy; return its folder."""
    config = folder / "config"
    shutil.copytree(CONFIG, config)
    policies = yaml.safe_load((config / "policies.yaml").read_text(encoding="utf-8"))
    policies["policies"][POLICY] = {
        "kind": "alert", "on": ["page"], "when": "event.value > 79.2", "cooldown": "1ms", "message": "Measured."
    }  # fmt: skip
    for policy in policies["policies"].values():
        policy["on"] = [str(kind) for kind in policy.pop("on", policy.pop(True, []))]
    (config / "policies.yaml").write_text(yaml.safe_dump(policies, sort_keys=False), encoding="utf-8")
    return config


class Worker:
    """A worker process; `folder` is its state folder."""

    def __init__(
        self, bootstrap: str, redis_url: str, folder: Path, config: Path, partitions: int, **settings: Any
    ) -> None:
        """`settings`: further settings by name, such as `standbys=1`."""
        folder.mkdir(parents=True, exist_ok=True)
        named = {
            "kafka": bootstrap, "redis": redis_url, "state": folder, "partitions": partitions, "worker_port": 0,
            "config": config, **settings,
        }  # fmt: skip
        environment = {f"STREAMWISE_{name.upper()}": str(value) for name, value in named.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", "worker"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started = time.monotonic()

    def ready(self) -> float:
        """Wait until it takes events; return the seconds since its start."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if READY_LINE in line:
                return time.monotonic() - self.started
        raise RuntimeError("the worker ended before it was ready")

    def cpu_s(self) -> float:
        """User and system seconds of all its threads since its start."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii", errors="replace")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to stop; raise if it ended by itself."""
        if self.process.poll() is not None and self.process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the worker ended by itself with status {self.process.returncode}")
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Site:
    """A broker, a Redis and a folder. The topics hold one recent event of each of `customers`."""

    def __init__(self, stack: ExitStack, customers: int, partitions: int) -> None:
        """`stack` ends all of it, and the workers."""
        self._stack, self._partitions = stack, partitions
        self.bootstrap = stack.enter_context(KafkaServer()).bootstrap
        self._redis = stack.enter_context(RedisServer(options=REDIS)).url
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_topics(self.bootstrap, partitions)
        publish(self.bootstrap, made_snapshots())
        first_ms = int(time.time() * 1000) - FIRST_SIGHT_MS - BEFORE_NOW_MS
        produce(self.bootstrap, first_sight(customers, first_ms=first_ms))
        self._config = configured(self.folder)

    def worker(self, name: str, **settings: Any) -> Worker:
        """Start a worker with its own state; `settings` as in `Worker`."""
        given = self.bootstrap, self._redis, self.folder / name, self._config, self._partitions
        return self._stack.enter_context(Worker(*given, **settings))


def read(bootstrap: str, topic: str, partitions: int) -> Iterator[Any]:
    """Yield all records of a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "latency", "enable.auto.commit": False})
    try:
        marks = {
            n: consumer.get_watermark_offsets(TopicPartition(topic, n), 10)[1] for n in range(partitions)
        }
        left = sum(marks.values())
        consumer.assign([TopicPartition(topic, n, 0) for n in range(partitions)])
        while left > 0:
            messages = consumer.consume(10_000, 5.0)
            if not messages:
                raise RuntimeError(f"{topic} could not be read back: {left} records are missing")
            left -= len(messages)
            yield from messages
    finally:
        consumer.close()


def latencies(bootstrap: str, from_ms: float, partitions: int) -> Any:
    """Return the latency of each measured alert whose event was appended after `from_ms`.

    float64[n, 2]: append time of the event (ms since the epoch), and ms from there to the append of the alert.
    """
    alerts: dict[str, dict[tuple[int, int], int]] = {topic: {} for topic in mix.TOPICS}
    for message in read(bootstrap, ALERTS, partitions):
        _name, decision = schemas.decode(message.value())
        if decision["policy"] == POLICY:
            alerts[decision["topic"]][decision["partition"], decision["offset"]] = message.timestamp()[1]
    found = []
    for topic, waiting in alerts.items():
        if not waiting:
            continue
        for message in read(bootstrap, topic, partitions):
            alert_ms, event_ms = waiting.get((message.partition(), message.offset())), message.timestamp()[1]
            if alert_ms is not None and event_ms >= from_ms:
                found.append((event_ms, alert_ms - event_ms))
    return np.array(found, np.float64).reshape(-1, 2)


def await_committed(bootstrap: str, events: int, partitions: int) -> None:
    """Wait until the worker has committed this many events."""
    until = time.monotonic() + PATIENCE_S
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "log_level": 0})
    places = [TopicPartition(topic, number) for topic in mix.TOPICS for number in range(partitions)]
    try:
        while sum(max(0, at.offset) for at in consumer.committed(places, timeout=20)) < events:
            if time.monotonic() > until:
                raise RuntimeError(f"{events:,} events were not committed in {PATIENCE_S:.0f} s")
            time.sleep(0.5)
    finally:
        consumer.close()
