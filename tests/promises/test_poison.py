"""All roles as processes on a real Kafka whose topics are full of poison: they go on, each record is answered for."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

import schemas
from agents.learner.published import read_published
from agents.learner.role import GROUP as LEARNER
from agents.ledger.role import GROUP as LEDGER
from agents.processes.supervisor import Supervisor
from agents.topology.topics import topics
from agents.worker.role import GROUP as WORKER
from bench.servers import KafkaServer
from config.settings import Settings, load_settings
from models.config import load_models
from models.learning.learner import Learner
from schemas.topics import OUTCOMES
from streams.kafka.topic_admin import ensure
from tests.agents.fuzz import spoilt
from tests.doubles.rig import CONFIG, FILES
from tests.reference import streams
from tests.reference.decode import Event
from tests.reference.engine import Reference
from tests.reference.record import Record
from tests.streams.fuzzed_log import fuzzed_log, verdict

COUNT = 20_000
OTHERS = 1_000  # in each of the other topics
PARTITIONS = 2
START_MS = 1_500_000_000_000  # so that it ends in the past: Kafka refuses records of tomorrow
PATIENCE_S = 90.0
DECODER = Reference(*FILES, streams.SCHEMAS).decoder
FEATURES = load_models(CONFIG / "models.yaml").names
Places = list[tuple[str, int]]


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"
    with KafkaServer(properties={"log.retention.ms": "-1"}) as server:
        ensure(server.bootstrap, topics(list(streams.TOPICS)), partitions=PARTITIONS, replication=1)
        yield server.bootstrap


class Log:
    """What is sent, in order; each record is known by its topic, partition and offset."""

    def __init__(self, bootstrap: str) -> None:
        self.failed: list[str] = []
        self.ends: dict[tuple[str, int], int] = {}
        config = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "log_level": 0,
        }
        self._producer = Producer({**config, "linger.ms": 5, "message.max.bytes": 2 << 20})

    def send(self, record: Record) -> int:
        """Append it; returns its offset."""
        self._producer.produce(
            record.topic, key=record.key, value=record.value, partition=record.partition,
            timestamp=record.timestamp, headers=list(record.headers), on_delivery=self._delivered,
        )  # fmt: skip
        self._producer.poll(0)
        place = (record.topic, record.partition)
        self.ends[place] = self.ends.get(place, 0) + 1
        return self.ends[place] - 1

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self.failed.append(error.str())

    def flush(self) -> None:
        assert self._producer.flush(60) == 0
        assert self.failed == []


def send_events(log: Log) -> tuple[set[tuple[str, int, int]], int]:
    """The fuzzed log, all of it appended at its end: the positions of the dead letters, how many are events."""
    made = fuzzed_log(5, COUNT, DECODER, start_ms=START_MS)
    appended = max(cut.append_time for cuts in made.cuts.values() for cut in cuts)
    dead, events = set(), 0
    for cuts in made.cuts.values():
        for record in (record for cut in cuts for record in cut.records):
            sent = record._replace(timestamp=appended)
            offset = log.send(sent)
            if isinstance(verdict(sent, DECODER), Event):
                events += 1
            else:
                dead.add((record.topic, record.partition, offset))
    return dead, events


def send_poison(
    log: Log, topic: str, good: list[bytes], keys: list[bytes | None]
) -> list[tuple[Record, tuple[str, int, int]]]:
    """Poison, then the good ones; each with where it stands."""
    sent = []
    for number, value in enumerate([*spoilt(schemas.TOPICS[topic], good, 8, OTHERS), *good]):
        record = Record(topic, number % PARTITIONS, 0, keys[number % len(keys)], value, START_MS)
        sent.append((record, (topic, record.partition, log.send(record))))
    return sent


def examples(count: int) -> list[bytes]:
    made = {"customer": "c", "opened": 1, "due": 2, "label_time": 2, "score": 0.5, "snapshot": 0}
    return [
        schemas.encode("training_example", {
            **made, "id": f"c:{number}", "model": ("purchase", "churn")[number % 2], "label": number // 2 % 2,
            "features": [float(number % (3 + place)) for place in range(len(FEATURES))],
        })
        for number in range(count)
    ]  # fmt: skip


def decisions(kind: str, count: int) -> list[bytes]:
    receipt = {"layout": 1, "snapshots": [0, 0], "scores": [0.5, 0.5], "fields": [1.0], "values": [2.0]}
    made = {"policy": "gone-quiet", "kind": kind, "cause": "order", "topic": "sales.events", "partition": 0}
    return [
        schemas.encode(
            "decision",
            {
                **made,
                "id": f"good {kind} {n}",
                "customer": "c",
                "time": START_MS,
                "offset": n,
                "receipt": receipt,
            },
        )
        for n in range(count)
    ]


def committed(bootstrap: str, group: str, places: Places) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    found = consumer.committed([TopicPartition(*place) for place in places], timeout=20)
    consumer.close()
    return sum(max(0, at.offset) for at in found)


def ends(bootstrap: str, places: Places) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends", "log_level": 0})
    found = [consumer.get_watermark_offsets(TopicPartition(*place), timeout=20)[1] for place in places]
    consumer.close()
    return sum(found)


def letters(bootstrap: str) -> list[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "letters", "log_level": 0})
    places = [("dead-letters", number) for number in range(PARTITIONS)]
    left = ends(bootstrap, places)
    consumer.assign([TopicPartition(*place, 0) for place in places])
    found: list[dict[str, Any]] = []
    until = time.monotonic() + PATIENCE_S
    while len(found) < left:
        assert time.monotonic() < until
        for message in consumer.consume(1000, 0.5):
            assert message.error() is None
            found.append(schemas.decode(message.value())[1])
    consumer.close()
    return found


@pytest.fixture
def settings(bootstrap: str, tmp_path: Path) -> Settings:
    return load_settings(
        kafka=bootstrap,
        partitions=PARTITIONS,
        state=tmp_path,
        server_port=0,
        commit_interval=1.0,
        redis="memory://",
    )


def test_every_role_goes_on_and_every_record_is_answered_for(bootstrap: str, settings: Settings) -> None:
    log = Log(bootstrap)
    dead, events = send_events(log)
    assert min(len(dead), events) > COUNT // 10
    learner = Learner("purchase", FEATURES)
    snapshot = schemas.encode("model_snapshot", learner.snapshot(1, {}).to_record())
    outcome = {"id": "good", "customer": "c", "offer": "o", "kind": "sent", "time": START_MS, "value": None}
    send_poison(log, "models", [snapshot], [b"purchase/1", b"", b"churn/9", b"purchase/" + b"9" * 30])
    send_poison(log, "training.examples", examples(200), [b"k", None])
    send_poison(log, "alerts", decisions("alert", 100), [b"k", None])
    send_poison(log, "offers", decisions("offer", 100), [b"k", None])
    outcomes = send_poison(log, OUTCOMES, [schemas.encode("outcome", outcome)], [b"k", None])
    dead |= {place for record, place in outcomes if not isinstance(verdict(record, DECODER), Event)}
    log.flush()
    numbers = range(PARTITIONS)
    groups = {
        WORKER: [(topic, n) for topic in streams.TOPICS for n in numbers],
        LEARNER: [("training.examples", n) for n in numbers],
        LEDGER: [(topic, n) for topic in ("alerts", "offers", OUTCOMES) for n in numbers],
    }
    with Supervisor(settings, free_ports=True) as roles:
        assert roles.start()
        for group, places in groups.items():  # the worker first: what it sends is for the others
            until = time.monotonic() + PATIENCE_S
            while committed(bootstrap, group, places) < ends(bootstrap, places):
                roles.check()
                assert time.monotonic() < until, f"{group} stands still"
                time.sleep(0.2)
        statuses = roles.stop()
    assert set(statuses.values()) == {0}
    found = letters(bootstrap)
    stood = [(letter["topic"], letter["partition"], letter["offset"]) for letter in found]
    refused = set(stood)
    once = [place for place in stood if place[0] != OUTCOMES]  # which the worker and the ledger read
    assert len(set(once)) == len(once)
    assert max(stood.count(place) for place in refused) == 2
    assert dead <= refused
    assert {place[0] for place in refused - dead if place[0] in streams.TOPICS} <= {OUTCOMES}
    assert {place[0] for place in refused} == {
        *streams.TOPICS,
        *(topic for topic, _ in groups[LEARNER] + groups[LEDGER]),
    }
    with sqlite3.connect(settings.state / "ledger.db") as connection:
        for table, kind in (("alerts", "alert"), ("offers", "offer")):
            kept = {row[0] for row in connection.execute(f"SELECT id FROM {table}")}
            assert kept >= {f"good {kind} {number}" for number in range(100)}
    connection.close()
    newest = read_published(bootstrap, "models")["churn"].restore("churn", FEATURES)[0]
    assert newest.taken >= 100
