"""Promise: events that an older build refuses are replayed after the upgrade, and each is counted exactly once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import schemas
from agents.learner import role as learner
from agents.ledger import role as ledger
from agents.topology import groups
from agents.topology.topics import topics
from agents.worker import role as worker
from bench.servers import KafkaServer
from operations import redeliver as redelivery
from operations.dead_letters import DeadLetterFilter
from operations.redeliver import ORIGIN_HEADER, Redelivered, redeliver
from schemas.topics import ALERTS, EXAMPLES, MESSAGES, OFFERS, OUTCOMES
from streams.engine.engine import LETTER_BYTES
from streams.errors import Fatal
from streams.kafka.embedded_broker import PARTITIONS
from streams.kafka.topic_admin import ensure
from tests.doubles import Rig, newer_schema
from tests.promises.test_crash import CHANGELOG, KEEP, SOURCES, START_MS, Cluster, unpacked
from tests.reference import streams
from tests.reference.record import Log, Record

ROOT = Path(__file__).parents[2]
SALES = "sales.events"
REASON = "the schema id is not one of this topic"
COUNTED = ("count", "maximum", "minimum", "latest", "first", "distinct")  # whatever the order of events
BIG = "x" * (LETTER_BYTES + 1000)
PATIENCE_S = 60.0


def steps() -> list[streams.Step]:
    found = streams.random_steps(11, 900, customers=40, bad=0.0, late=0.0, repeated=0.0, jump=0.0)
    return [replace(step, advance_ms=max(1, step.advance_ms), skipped_offsets=0) for step in found]


LOG: Log = streams.build(steps(), PARTITIONS, START_MS)


def newer(record: Record, number: int) -> bool:
    """Whether a producer writes version 3 already; others still write versions 1 and 2."""
    return record.topic == SALES and number % 3 == 0


@dataclass
class Installation:
    """A broker with a part of its sales in version 3; workers and the command line on it."""

    cluster: Cluster
    folder: Path
    sent: int = 0

    def fill(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self.cluster.bootstrap, "enable.idempotence": True, "linger.ms": 5}
        )
        for records in LOG.values():
            for number, record in enumerate(records):
                value = record.value
                if newer(record, number):
                    value = self.rewritten(record, number)
                    self.sent += 1
                producer.produce(
                    record.topic, key=record.key, value=value, partition=record.partition, timestamp=record.timestamp,
                    headers=[("trace", str(number).encode()), ("empty", None)],
                )  # fmt: skip
                producer.poll(0)
        assert producer.flush(30) == 0

    def rewritten(self, record: Record, number: int) -> bytes:
        assert record.value is not None
        event = {**schemas.decode(record.value)[1], "till": BIG if number == 3 else "7"}
        return newer_schema.encode(event)

    def start(self, *build: str) -> Any:
        return self.cluster.start(*build, pause=0.0)

    def run(self, *arguments: str) -> dict[str, Any]:
        """A command of `streamwise dead-letters`, and the JSON it ends with."""
        command = [sys.executable, "-m", "cli", "dead-letters", *arguments, "--json"]
        env = {**os.environ, "STREAMWISE_KAFKA": self.cluster.bootstrap, "STREAMWISE_STATE": str(self.folder)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    def ends(self) -> dict[tuple[str, int], int]:
        consumer = Consumer({"bootstrap.servers": self.cluster.bootstrap, "group.id": "ends", "log_level": 0})
        places = [TopicPartition(topic, number) for topic in SOURCES for number in range(PARTITIONS)]
        found = {(at.topic, at.partition): consumer.get_watermark_offsets(at, timeout=20)[1] for at in places}
        consumer.close()
        return found

    def settle(self) -> None:
        """Until everything there is has been read and committed."""
        ends = self.ends()
        until = time.monotonic() + PATIENCE_S
        consumer = Consumer(
            {"bootstrap.servers": self.cluster.bootstrap, "group.id": self.cluster.group, "log_level": 0}
        )
        while True:
            found = consumer.committed([TopicPartition(*at) for at in ends], timeout=20)
            if all(max(0, at.offset) == ends[at.topic, at.partition] for at in found):
                break
            assert time.monotonic() < until, [(at, ends[at.topic, at.partition]) for at in found]
            time.sleep(0.1)
        consumer.close()

    def records(self) -> list[Any]:
        """Every record of the sales."""
        consumer = Consumer({"bootstrap.servers": self.cluster.bootstrap, "group.id": "all", "log_level": 0,
                             "enable.partition.eof": True, "auto.offset.reset": "earliest"})  # fmt: skip
        consumer.assign([TopicPartition(SALES, number, 0) for number in range(PARTITIONS)])
        found, ended = [], 0
        while ended < PARTITIONS:
            message = consumer.poll(10)
            assert message is not None
            if message.error() is None:
                found.append(message)
            else:
                ended += 1
        consumer.close()
        return found


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"
    with KafkaServer(properties=KEEP) as kafka:
        cluster = Cluster(kafka.bootstrap)
        cluster.group = worker.GROUP
        ensure(kafka.bootstrap, topics(SOURCES), partitions=PARTITIONS, replication=1)
        found = Installation(cluster, tmp_path)
        found.fill()
        try:
            yield found
        finally:
            cluster.close()


def counted(rows: dict[tuple[int, bytes], bytes]) -> dict[tuple[int, bytes], dict[str, bytes]]:
    """The words that do not depend on the order of events, and sums in cents."""
    rig = Rig()
    layout = rig.work.layout
    columns = [column for column in rig.config.features.columns if column.kind in COUNTED]
    starts = {column.name: layout.column_at[column.name] for column in columns}
    return {
        place: {name: row[8 * at : 8 * at + 8] for name, at in starts.items()} for place, row in rows.items()
    }


def undisturbed() -> dict[tuple[int, bytes], bytes]:
    rig = Rig()
    rig.feed({place: streams.cut(records, [100], ["none"]) for place, records in LOG.items()})
    return rig.row_bytes()


CRASH = """
import os, sys
from operations.dead_letters import DeadLetterFilter
from operations.redeliver import redeliver
redeliver(sys.argv[1], sys.argv[2].split(","), DeadLetterFilter(), limit=30, after_send=lambda: os._exit(9))
"""


def test_what_an_older_build_refuses_is_replayed_and_counted_once(installation: Installation) -> None:
    old = installation.start()
    installation.settle()
    (group,) = installation.run("list")["groups"]
    assert (group["topic"], group["reason"], group["letters"]) == (SALES, REASON, installation.sent)
    shown = installation.run("show", group["example"])
    assert (shown["reason"], "99" in shown["undecoded"]) == (REASON, True)
    # too early: the build that reads them refuses them again, at another place
    assert installation.run("replay", "--limit", "2")["replayed"] == 2
    installation.settle()
    (group,) = installation.run("list", "--reason", "schema id")["groups"]
    assert (group["letters"], group["replayed"]) == (installation.sent + 2, 2)
    installation.cluster.stop(old, signal.SIGTERM)

    new = installation.start("newer")
    twice: list[Redelivered] = []
    # killed with a transaction open: nothing of it is there, and nothing is marked
    crash = subprocess.run(
        [sys.executable, "-c", CRASH, installation.cluster.bootstrap, ",".join(SOURCES)], cwd=ROOT
    )
    assert crash.returncode == 9
    assert installation.run("replay", "--dry-run")["replayed"] == installation.sent
    # one that begins while another is at it shuts that one out
    choice, bootstrap = DeadLetterFilter(), installation.cluster.bootstrap
    with pytest.raises(Fatal, match="another `streamwise dead-letters replay` has started since"):
        redeliver(
            bootstrap,
            SOURCES,
            choice,
            limit=3,
            after_send=lambda: twice.append(redeliver(bootstrap, SOURCES, choice, limit=1)),
        )
    assert [done.replayed for done in twice] == [1]
    done = installation.run("replay", "--reason", "schema id", "--topic", SALES)
    assert done == {"replayed": installation.sent - 1, "from_letter": 0, "kept": {"replayed before": 3}}
    again = installation.run("replay")
    assert again == {"replayed": 0, "from_letter": 0, "kept": {"replayed before": installation.sent + 2}}
    installation.settle()
    as_they_were(installation)

    # the downgrade, while producers still write version 3
    installation.cluster.stop(new, signal.SIGTERM)
    old = installation.start()
    producer = Producer({"bootstrap.servers": installation.cluster.bootstrap})
    producer.produce(SALES, key=b"late", value=newer_schema.encode(an_order()), partition=0)
    producer.flush(20)
    installation.settle()
    installation.cluster.stop(old, signal.SIGTERM)
    assert installation.run("replay", "--dry-run")["replayed"] == 1
    found = {
        (n, k): unpacked(v) for n, k, v in installation.cluster.read(CHANGELOG) if not k.startswith(b"\0")
    }
    assert counted(found) == counted(undisturbed())


def an_order() -> dict[str, Any]:
    record = next(r for r in LOG[SALES, 0] if r.value is not None)
    assert record.value is not None
    return {**schemas.decode(record.value)[1], "message_id": "of the newer build", "till": "1"}


def as_they_were(installation: Installation) -> None:
    """What was replayed has the key, value, headers, time and partition that it had."""
    everything = {(m.partition(), m.offset()): m for m in installation.records()}
    copies = [m for m in everything.values() if ORIGIN_HEADER in dict(m.headers())]
    assert len(copies) == installation.sent + 2
    big = 0
    for copy in copies:
        topic, partition, offset = dict(copy.headers())[ORIGIN_HEADER].decode().split(":")
        original = everything[int(partition), int(offset)]
        assert (topic, int(partition)) == (SALES, copy.partition())
        assert (copy.key(), copy.value(), copy.timestamp()) == (
            original.key(),
            original.value(),
            original.timestamp(),
        )
        kept = [header for header in original.headers() if header[0] != ORIGIN_HEADER]
        assert copy.headers()[:-1] == kept
        assert kept[0][0] == "trace"
        big += len(copy.value()) > LETTER_BYTES
    assert big > 0, "one that its letter does not hold whole"


def test_the_groups_are_those_of_the_roles() -> None:
    assert worker.GROUP == redelivery.WORKER_GROUP
    wanted = {EXAMPLES: learner.GROUP, ALERTS: ledger.GROUP, OFFERS: ledger.GROUP, OUTCOMES: ledger.GROUP}
    assert {**wanted, MESSAGES: groups.READER} == redelivery.GROUPS
