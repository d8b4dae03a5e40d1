"""A worker that is killed in the middle of a replay, or handed its partitions over: nothing lost, nothing twice."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

import schemas
from agents.topology.topics import topics
from bench.servers import KafkaServer
from streams.kafka.embedded_broker import PARTITIONS, EmbeddedBroker
from streams.kafka.topic_admin import ensure
from tests.doubles import Rig
from tests.reference import streams
from tests.reference.record import Log

ROOT = Path(__file__).parents[2]
SOURCES = list(streams.TOPICS)
OUTPUTS = ("alerts", "offers", "training.examples")
CHANGELOG = "customers-changelog"
EVENTS = 12_000
START_MS = 1_500_000_000_000  # so that it ends in the past: Kafka refuses records of tomorrow
KEEP = {"log.retention.ms": "-1"}
RECORDS_A_BATCH = 25
PAUSE_S = 0.012  # a batch: the whole log takes about six seconds of it
PATIENCE_S = 90.0
Outputs = dict[tuple[str, str], set[bytes]]


def recorded() -> Log:
    """No two events at one time and none late, so that they merge in one way only."""
    steps = streams.random_steps(7, EVENTS, customers=150, bad=0.0, late=0.0, jump=0.001)
    punctual = [replace(step, advance_ms=max(1, step.advance_ms), skipped_offsets=0) for step in steps]
    return streams.build(punctual, PARTITIONS, START_MS)


LOG = recorded()
NEW = Rig().work.layout.default_row.view("uint64").tolist()


def unpacked(value: bytes) -> bytes:
    """A row from its changelog value: layout id, mask, the words that are not as in a new row
    (docs/decisions/streams.md)."""
    masks = -(-len(NEW) // 64)
    mask = int.from_bytes(value[8 : 8 + 8 * masks], "little")
    there = struct.iter_unpack("<Q", value[8 + 8 * masks :])
    words = [word ^ next(there)[0] if mask >> place & 1 else word for place, word in enumerate(NEW)]
    assert next(there, None) is None
    return struct.pack(f"<{len(words)}Q", *words)


class Cluster:
    """A broker with the log in its topics, and workers on it."""

    records_a_batch = RECORDS_A_BATCH

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.group = f"crash-{uuid.uuid4().hex[:8]}"
        self.workers: list[subprocess.Popen[str]] = []

    def fill(self) -> None:
        # idempotent, or a retried batch may stand behind the ones that follow it
        config = {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5}
        failed: list[str] = []

        def delivered(error: KafkaError | None, message: object) -> None:
            if error is not None:
                failed.append(error.str())

        producer = Producer({**config, "batch.num.messages": self.records_a_batch, "compression.type": "lz4"})
        for (topic, number), records in LOG.items():
            for r in records:
                producer.produce(
                    topic,
                    key=r.key,
                    value=r.value,
                    partition=number,
                    timestamp=r.timestamp,
                    on_delivery=delivered,
                )
                producer.poll(0)
        assert producer.flush(30) == 0
        assert failed == []

    def start(self, *given: str, pause: object = PAUSE_S, **settings: str) -> subprocess.Popen[str]:
        """A worker; `given`: what else its process is told, `settings`: of its environment."""
        command = [sys.executable, "-m", "tests.doubles.worker_process", self.bootstrap, self.group]
        worker = subprocess.Popen(
            [*command, str(PARTITIONS), str(pause), *given],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings},
        )
        self.workers.append(worker)
        assert worker.stdout is not None
        line = worker.stdout.readline()
        assert "ready" in line, line
        return worker

    def committed(self) -> int:
        """How many events the group has committed."""
        return sum(self.committed_at().values())

    def committed_at(self) -> dict[tuple[str, int], int]:
        """The same by topic and partition."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group, "log_level": 0})
        found = consumer.committed([TopicPartition(*place) for place in LOG], timeout=20)
        consumer.close()
        return {(at.topic, at.partition): max(0, at.offset) for at in found}

    def wait(self, events: int) -> None:
        """Until at least so many events are committed."""
        until = time.monotonic() + PATIENCE_S
        while self.committed() < events:
            assert time.monotonic() < until, f"{self.committed()} of {events} committed"
            self.alive()

    def alive(self) -> None:
        assert any(worker.poll() is None for worker in self.workers)
        time.sleep(0.1)

    def stop(self, worker: subprocess.Popen[str], how: signal.Signals) -> None:
        worker.send_signal(how)
        worker.wait(30)

    def read(self, topic: str) -> list[tuple[int, bytes, bytes]]:
        """(partition, key, value) of everything in a topic."""
        config = {"bootstrap.servers": self.bootstrap, "group.id": "reader", "log_level": 0}
        consumer = Consumer({**config, "enable.partition.eof": True})
        found = []
        for number in range(PARTITIONS):
            consumer.assign([TopicPartition(topic, number, 0)])
            until = time.monotonic() + PATIENCE_S
            while True:
                assert time.monotonic() < until
                message = consumer.poll(1.0)
                if message is not None and message.error() is None:
                    found.append((number, message.key(), message.value()))
                elif message is not None:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    break
        consumer.close()
        return found

    def rows(self) -> dict[tuple[int, bytes], bytes]:
        """The newest row of each customer, every word of it."""
        return {(n, k): unpacked(v) for n, k, v in self.read(CHANGELOG) if not k.startswith(b"\0")}

    def outputs(self) -> Outputs:
        found: Outputs = {}
        for topic in OUTPUTS:
            for _, _, value in self.read(topic):
                found.setdefault((topic, schemas.decode(value)[1]["id"]), set()).add(value)
        return found

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait(30)
            assert worker.stdout is not None
            worker.stdout.close()


@pytest.fixture(params=["embedded", "kafka"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with ExitStack() as stack:
        if request.param == "embedded":
            broker = stack.enter_context(EmbeddedBroker())
            broker.make_topics(topics(SOURCES))
            found = Cluster(broker.bootstrap)
        else:
            missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
            if missing and os.environ.get("CI") != "true":
                pytest.skip(f"{', '.join(missing)} missing")
            assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"
            found = Cluster(stack.enter_context(KafkaServer(properties=KEEP)).bootstrap)
            ensure(found.bootstrap, topics(SOURCES), partitions=PARTITIONS, replication=1)
        stack.callback(found.close)
        found.fill()
        yield found


@pytest.fixture(scope="module")
def undisturbed() -> Rig:
    rig = Rig()
    rig.feed({place: streams.cut(records, [RECORDS_A_BATCH], ["none"]) for place, records in LOG.items()})
    return rig


def nothing_lost_nothing_twice(cluster: Cluster, undisturbed: Rig) -> None:
    rows, expected_rows = cluster.rows(), undisturbed.row_bytes()
    assert rows.keys() == expected_rows.keys()
    wrong = [place for place in rows if rows[place] != expected_rows[place]]
    assert not wrong
    expected: Outputs = {}
    for sent in undisturbed.outputs.sent:
        if sent.topic in OUTPUTS:
            expected.setdefault((sent.topic, schemas.decode(sent.value)[1]["id"]), set()).add(sent.value)
    found = cluster.outputs()
    assert expected.keys() - found.keys() == set(), "missing"
    assert found.keys() - expected.keys() == set(), "made up"
    assert {place for place, values in found.items() if len(values) > 1} == set(), "two contents"
    assert found == expected


def test_killed_twice_in_the_middle_of_a_replay(cluster: Cluster, undisturbed: Rig) -> None:
    for share in (0.1, 0.4):
        worker = cluster.start()
        cluster.wait(int(share * EVENTS))
        cluster.stop(worker, signal.SIGKILL)
        assert cluster.committed() < EVENTS
    worker = cluster.start()
    cluster.wait(EVENTS)
    cluster.stop(worker, signal.SIGTERM)
    assert worker.returncode == 0
    nothing_lost_nothing_twice(cluster, undisturbed)


# The embedded broker is for one worker: after a second one has joined, changelogs are not read to their end there.
@pytest.mark.parametrize("cluster", ["kafka"], indirect=True)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_worker_joins_and_the_first_one_leaves(
    cluster: Cluster, undisturbed: Rig, how: signal.Signals
) -> None:
    first = cluster.start()
    cluster.wait(EVENTS // 10)
    second = cluster.start()
    cluster.wait(EVENTS // 2)
    cluster.stop(first, how)
    cluster.wait(EVENTS)
    cluster.stop(second, signal.SIGTERM)
    nothing_lost_nothing_twice(cluster, undisturbed)
