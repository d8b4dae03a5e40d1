"""An embedded broker with every topic, roles as real processes on it, and what they are fed with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import schemas
from agents.together import RoleProcess, environment
from agents.topics import topics
from config.settings import ROOT, Settings, load_settings
from models.config import load_models
from streams.embedded import PARTITIONS, EmbeddedBroker

SOURCES = ["web.events", "social.events", "sales.events", "offer.outcomes"]
PATIENCE_S = 60.0  # a group stands still for some seconds after a kill
FEATURES = len(load_models(ROOT / "config" / "models.yaml").features)


@dataclass
class Broker:
    """An embedded broker; what is sent is acknowledged when `send` returns."""

    embedded: EmbeddedBroker
    bootstrap: str
    producer: Any = field(init=False)

    def __post_init__(self) -> None:
        self.embedded.make_topics(topics(SOURCES))
        self.producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, "linger.ms": 5})

    def send(self, topic: str, values: Sequence[bytes | None], partition: int = 0, key: bytes = b"k") -> None:
        for value in values:
            self.producer.produce(topic, value=value, key=key, partition=partition)
        assert self.producer.flush(20) == 0

    def values(self, topic: str) -> list[tuple[bytes, bytes | None]]:
        """Every record of a topic: key and value."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "log_level": 0})
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        wanted = sum(consumer.get_watermark_offsets(at, timeout=10)[1] for at in consumer.assignment())
        found: list[tuple[bytes, bytes | None]] = []
        while len(found) < wanted:
            for message in consumer.consume(1000, 0.2):
                assert message.error() is None
                found.append((message.key() or b"", message.value()))
        consumer.close()
        return found


@pytest.fixture
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as embedded:
        found = Broker(embedded, embedded.bootstrap)
        yield found
        found.producer.flush(5)


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    """Settings for roles on the embedded broker, on free ports."""
    return load_settings(
        kafka=broker.bootstrap, partitions=PARTITIONS, state=tmp_path, worker_port=0, learner_port=0, ledger_port=0,
        analyst_port=0, server_port=0, reader_port=0, commit_interval=1.0,
    )  # fmt: skip


Start = Callable[..., RoleProcess]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Start a role and wait until it is ready; all of them are ended after the test."""
    started: list[RoleProcess] = []

    def begin(role: str, *arguments: str, wait: bool = True) -> RoleProcess:
        process = RoleProcess(role, arguments, environment(settings, True), settings.state)
        started.append(process)
        if wait:
            process.wait_ready()
        return process

    yield begin
    for process in started:
        process.terminate()
    for process in started:
        process.wait(15)


Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def until() -> Until:
    """Wait for what another process does; gives what the condition gave."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            pause.wait(0.05)
        return found

    return wait


MakeExample = Callable[..., dict[str, Any]]


@pytest.fixture
def example() -> MakeExample:
    """Make a training example whose label depends on its first feature."""

    def make(number: int, model: str = "purchase", **given: Any) -> dict[str, Any]:
        features = [((number * (place + 3)) % 17) / 17.0 for place in range(FEATURES)]
        record = {
            "id": f"c{number}:{model}:{number}", "customer": f"c{number}", "model": model,
            "label": int(features[0] > 0.4), "opened": 1_000 * number + 450, "due": 1_000 * number + 500,
            "label_time": 1_000 * number + 500, "score": 0.5, "snapshot": 0, "features": features,
        }  # fmt: skip
        return {**record, **given}

    return make


@pytest.fixture
def decision() -> Callable[..., dict[str, Any]]:
    """Make an alert or an offer."""

    def make(number: int, kind: str = "alert", **given: Any) -> dict[str, Any]:
        receipt = {
            "layout": 1,
            "snapshots": [1, 2],
            "scores": [0.25, 0.75],
            "fields": [1.0],
            "values": [2.0, 3.0],
        }
        record = {
            "id": f"sales.events:0:{number}:gone-quiet", "customer": f"c{number}", "policy": "gone-quiet", "kind": kind,
            "time": 1_500_000_000_000 + number, "cause": "order", "topic": "sales.events", "partition": 0,
            "offset": number, "receipt": receipt,
        }  # fmt: skip
        return {**record, **given}

    return make


@pytest.fixture
def encode() -> Callable[[str, Sequence[dict[str, Any]]], list[bytes]]:
    """Encode records of one schema."""
    return lambda name, records: [schemas.encode(name, record) for record in records]
