"""An embedded broker for the replay's tests, and a source whose events are easy to tell apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ingest.source import DEAD_LETTERS, Event

QUIET = logging.getLogger("tests.librdkafka")
QUIET.addHandler(logging.NullHandler())

DAY_MS = 86_400_000
BEGIN_MS = 1_483_228_800_000  # 2017-01-01


@dataclass
class Numbered:
    """`total` events an hour apart, of 50 customers, after `dead` dead letters."""

    total: int
    dead: int = 0
    name: str = "numbered"
    topics: tuple[str, ...] = ("sales.events", "web.events", DEAD_LETTERS)
    begins_ms: int | None = None
    fingerprint: str = "f1"
    step_ms: int = 3_600_000
    yielded: list[int] = field(default_factory=list)

    def events(self, start: int = 0) -> Iterator[Event]:
        for number in range(start, self.total):
            self.yielded.append(number)
            if number < self.dead:
                yield DEAD_LETTERS, b"file", 0, str(number).encode()
            else:
                topic = "web.events" if number % 3 == 0 else "sales.events"
                key = f"customer-{number % 50}".encode()
                yield topic, key, BEGIN_MS + number * self.step_ms, str(number).encode()


class Broker:
    """librdkafka's mock cluster. It lives as long as the client that made it."""

    def __init__(self) -> None:
        settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "mock"}
        self.owner = Producer(settings, logger=QUIET)
        brokers = self.owner.list_topics(timeout=10).brokers
        self.bootstrap = ",".join(f"{b.host}:{b.port}" for b in brokers.values())
        for topic in Numbered(0).topics:
            self.owner.list_topics(topic, timeout=10)  # the mock cluster makes the topic

    def consumer(self, *topics: str) -> Consumer:
        """Assigned to every partition of `topics` from its first record."""
        settings = {"bootstrap.servers": self.bootstrap, "group.id": "test", "fetch.wait.max.ms": 10}
        consumer = Consumer(
            {**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False}, logger=QUIET
        )
        partitions = [
            TopicPartition(topic, number, 0)
            for topic in topics
            for number in self.owner.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        consumer.assign(partitions)
        return consumer

    def values(self, *topics: str) -> list[tuple[str, int, bytes, bytes]]:
        """Every record: topic, partition, key, value."""
        consumer = self.consumer(*topics)
        ends = sum(consumer.get_watermark_offsets(p, timeout=10)[1] for p in consumer.assignment())
        found: list[tuple[str, int, bytes, bytes]] = []
        while len(found) < ends:
            for message in consumer.consume(1000, timeout=0.1):
                assert message.error() is None, message.error()
                where = str(message.topic()), int(message.partition() or 0)
                found.append((*where, bytes(message.key() or b""), bytes(message.value() or b"")))
        consumer.close()
        return found

    def numbers(self) -> list[int]:
        """The numbers of all `Numbered` events in the log."""
        return sorted(int(value) for *_, value in self.values(*Numbered(0).topics))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def numbered() -> Callable[..., Numbered]:
    return Numbered
