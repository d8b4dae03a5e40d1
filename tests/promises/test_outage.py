"""Stores, the broker and other roles that are slow or do not answer: events go on, memory stays, nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import redis
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

import schemas
from agents.processes.supervisor import environment
from agents.topology.topics import topics
from agents.worker.role import GROUP, VIEWS_A_TAKE
from bench.servers import KafkaServer, PostgresServer, RedisServer
from bench.servers.postgres import BINARIES
from config.settings import load_settings
from serving.ledger.ledger import Ledger
from streams.kafka.topic_admin import ensure
from tests.doubles.proxy import Proxy
from tests.fixtures.servers import needed
from tests.reference import streams

ROOT = Path(__file__).parents[2]
STALL_S = 6.0
PATIENCE_S = 90.0
START_MS = 1_500_000_000_000
CUSTOMERS = 4_000  # more than the publisher takes at once
EVENTS = 30_000  # a wave of them
DECISIONS = 20_000
GROWTH_BYTES = 48 << 20


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    needed(shutil.which("java") is not None and shutil.which("mvn") is not None, "java or mvn")
    with KafkaServer(properties={"log.retention.ms": "-1"}) as server:
        ensure(server.bootstrap, topics(list(streams.TOPICS)), partitions=1, replication=1)
        KAFKA.append(server.pid)
        yield server.bootstrap


KAFKA: list[int] = []


class Role:
    """A role as a process; `told()` gives its /status."""

    def __init__(self, name: str, bootstrap: str, state: Path, **settings: Any) -> None:
        made = load_settings(kafka=bootstrap, partitions=1, state=state, commit_interval=1.0, **settings)
        env = {**os.environ, **environment(made, True)}
        command = [sys.executable, "-m", "tests.doubles.role_process", name, str(STALL_S)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "ready" in line, line
        self.address = line.split()[-1]

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.get("/status")[1])
        return found

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(self.address + path, timeout=30) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def role(bootstrap: str, tmp_path: Path) -> Iterator[Callable[..., Role]]:
    with ExitStack() as stack:

        def start(name: str, **settings: Any) -> Role:
            made = Role(name, bootstrap, tmp_path / name, **settings)
            stack.callback(made.close)
            return made

        yield start


def until(condition: Callable[[], Any], *alive: Role) -> Any:
    """What the condition gave as soon as it is true; the roles have to live until then."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert all(role.process.poll() is None for role in alive), "a role ended itself"
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


class Waves:
    """Events of `CUSTOMERS` customers, a wave at a time, and how many of them are committed."""

    def __init__(self, bootstrap: str) -> None:
        config = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20, "log_level": 0}
        self._producer = Producer({**config, "compression.type": "lz4"})
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "log_level": 0})
        self._place = TopicPartition("web.events", 0)
        self.sent = 0

    def send(self, count: int = EVENTS) -> None:
        event: dict[str, Any] = {
            "kind": "view",
            "url": "/",
            "product": None,
            "category": None,
            "value": 1.0,
            "properties": {},
        }
        for number in range(self.sent, self.sent + count):
            value = schemas.encode(
                "web_event", {**event, "message_id": f"m{number}", "time": START_MS + number}
            )
            self._producer.produce(
                "web.events", value, b"c%d" % (number % CUSTOMERS), 0, timestamp=START_MS + number
            )
            self._producer.poll(0)
        assert self._producer.flush(60) == 0
        self.sent += count

    def committed(self) -> bool:
        """False, too, while a broker that has just come back does not know yet."""
        try:
            (found,) = self._consumer.committed([self._place], timeout=30)
        except KafkaException:
            return False
        return bool(found.offset >= self.sent)

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def waves(bootstrap: str) -> Iterator[Waves]:
    made = Waves(bootstrap)
    yield made
    made.close()


def views(server: RedisServer) -> Mapping[bytes, np.ndarray]:
    client = redis.Redis.from_url(server.url)
    keys: Any = client.keys("customer:*")
    blobs: Any = client.mget(keys) if keys else []
    found = {key: np.frombuffer(blob) for key, blob in zip(keys, blobs, strict=True)}
    client.close()
    return found


def test_the_worker(bootstrap: str, role: Callable[..., Role], waves: Waves) -> None:
    """Redis holds every answer back, then the learner stops, then the broker: none of them costs an event."""
    needed(shutil.which("redis-server") is not None, "redis-server")
    with RedisServer() as server, Proxy(server.address) as proxy:
        worker = role("worker", redis=f"redis://{proxy.address}/0")
        learner = role("learner")
        waves.send()
        usual_s = timed(waves, worker)
        before = worker.resident_bytes()

        learner.send(signal.SIGSTOP)
        proxy.open.clear()
        waves.send(3 * EVENTS)
        held_s = timed(waves, worker) / 3
        assert held_s < 3 * usual_s + 1.0
        until(lambda: worker.told()["view_failures"] > 0, worker)
        assert worker.resident_bytes() - before < GROWTH_BYTES
        stale = views(server)
        proxy.delay_s = 0.2
        proxy.open.set()
        newest = START_MS + waves.sent - CUSTOMERS
        until(
            lambda: len(found := views(server)) == CUSTOMERS and min(v[1] for v in found.values()) >= newest,
            worker,
        )
        assert not stale or min(view[1] for view in stale.values()) < newest
        assert CUSTOMERS > VIEWS_A_TAKE

        os.kill(KAFKA[0], signal.SIGSTOP)
        away = until(lambda: (told := worker.get("/readyz"))[0] == 503 and told[1], worker)
        assert b"no Kafka broker answers" in away
        time.sleep(2 * STALL_S)  # longer than any step may stand still
        assert worker.process.poll() is None
        os.kill(KAFKA[0], signal.SIGCONT)
        waves.send(1000)
        until(waves.committed, worker)
        until(lambda: worker.get("/readyz")[0] == 200, worker)
        learner.send(signal.SIGCONT)
        time.sleep(STALL_S / 2)
        assert learner.process.poll() is None  # it was stopped, which is no hang of its own
        worker.send(signal.SIGTERM)
        assert worker.process.wait(30) == 0


def timed(waves: Waves, worker: Role) -> float:
    began = time.monotonic()
    until(waves.committed, worker)
    return time.monotonic() - began


def test_the_ledger(bootstrap: str, role: Callable[..., Role], tmp_path: Path) -> None:
    """PostgreSQL takes what it is sent and says nothing: the ledger waits, holds little, and loses none."""
    needed(bool(BINARIES), "PostgreSQL")
    receipt = {"layout": 1, "snapshots": [0, 0], "scores": [0.5, 0.5], "fields": [1.0], "values": [2.0] * 60}
    alert = {"customer": "c", "policy": "p", "kind": "alert", "time": 1, "cause": "order", "topic": "sales.events",
             "partition": 0, "offset": 0, "receipt": receipt}  # fmt: skip
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})

    def send(first: int, count: int) -> None:
        for number in range(first, first + count):
            producer.produce("alerts", schemas.encode("decision", {**alert, "id": f"a{number}"}), b"c", 0)
            producer.poll(0)
        assert producer.flush(60) == 0

    with PostgresServer() as server, Proxy(server.address) as proxy:
        ledger = role("ledger", ledger=server.url.replace(server.address, proxy.address))
        send(0, 2_000)
        until(lambda: ledger.told()["ledger_inserted"] >= 2_000, ledger)
        before = ledger.resident_bytes()
        proxy.open.clear()
        send(2_000, DECISIONS)
        away = until(lambda: (told := ledger.get("/readyz"))[0] == 503 and told[1], ledger)
        assert b"does not answer" in away
        time.sleep(2 * STALL_S)
        assert ledger.process.poll() is None
        assert ledger.resident_bytes() - before < GROWTH_BYTES
        assert ledger.told()["lag"]["alerts"] > 0
        proxy.open.set()
        until(lambda: ledger.told()["ledger_inserted"] >= 2_000 + DECISIONS, ledger)
        kept = Ledger(server.url)
        assert kept.counts()["alerts"] == 2_000 + DECISIONS
        kept.close()
        ledger.send(signal.SIGTERM)
        assert ledger.process.wait(30) == 0
