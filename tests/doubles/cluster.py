"""An installation on a real Kafka with roles as processes, for tests that move from one to another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from sqlalchemy import select

import schemas
from agents.processes.supervisor import RoleProcess, environment
from agents.topology.topics import topics
from backup.file.key import read_key
from bench.faults import oracle
from bench.servers import KafkaServer
from config.settings import load_settings
from models.scoring.snapshot import LINEAR, Snapshot
from operations.backup import make_backup
from serving.ledger.ledger import Ledger
from serving.ledger.tables import ALERTS, OFFERS
from streams.kafka import committed_offsets as offsets
from streams.kafka.topic_admin import ensure
from tests.doubles.rig import Rig, shipped_config
from tests.reference import streams
from tests.reference.record import Log

ROOT = Path(__file__).parents[2]
SOURCES = list(streams.TOPICS)
PARTITIONS = 4
RECORDS_A_BATCH = 25
PATIENCE_S = 60.0
KEEP = {"log.retention.ms": "-1"}


class Cluster:
    """A broker with every topic, a ledger of its own, and roles on it."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.kafka = stack.enter_context(KafkaServer(properties=KEEP))
        self.settings = load_settings(
            kafka=self.kafka.bootstrap, partitions=PARTITIONS, state=folder, worker_port=0, ledger_port=0,
            learner_port=0, commit_interval=1.0,
        )  # fmt: skip
        self.folder = folder
        folder.mkdir()
        self._stack = stack

    def topics(self) -> None:
        ensure(self.kafka.bootstrap, topics(SOURCES), partitions=PARTITIONS, replication=1)

    def send(self, log: Log) -> None:
        settings = {"bootstrap.servers": self.kafka.bootstrap, "enable.idempotence": True, "linger.ms": 5}
        producer = Producer({**settings, "batch.num.messages": RECORDS_A_BATCH})
        for (topic, number), found in log.items():
            for one in found:
                producer.produce(topic, one.value, one.key, partition=number, timestamp=one.timestamp)
                producer.poll(0)
        assert producer.flush(30) == 0

    def send_snapshots(self, snapshots: Any) -> None:
        names = shipped_config().models.names
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        for model, found in snapshots.items():
            snapshot = Snapshot(model, found.version, 1, LINEAR, names, found.bias, tuple(found.weights), 1)
            value = schemas.encode("model_snapshot", snapshot.to_record())
            producer.produce("models", value, f"{model}/{found.version}", partition=1)
        assert producer.flush(30) == 0

    def worker(self, pause_s: float) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "tests.doubles.worker_process",
            self.kafka.bootstrap,
            "streamwise-worker",
        ]
        worker = subprocess.Popen(
            [*command, str(PARTITIONS), str(pause_s)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self._stack.callback(end, worker)
        assert worker.stdout is not None
        line = worker.stdout.readline()
        assert "ready" in line, line
        return worker

    def role(self, name: str) -> RoleProcess:
        process = RoleProcess(name, [], environment(self.settings, True), self.folder)
        self._stack.callback(process.wait, 15)
        self._stack.callback(process.terminate)
        process.wait_ready()
        return process

    def cli(self, *arguments: str, killed: tuple[str, int] | None = None) -> subprocess.CompletedProcess[str]:
        start = ["cli"] if killed is None else ["tests.doubles.killed", killed[0], str(killed[1])]
        env = {**os.environ, **environment(self.settings, True)}
        command = [sys.executable, "-m", *start, *arguments]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)

    def backup(self, path: str | Path, key: str | None = None, since: str | None = None) -> dict[str, Any]:
        secret, base = read_key(Path(key)) if key else None, Path(since) if since else None
        return make_backup(self.settings, Path(path), since=base, key=secret, quiet=True)

    def committed(self, group: str = "streamwise-worker", names: list[str] = SOURCES) -> int:
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": group, "log_level": 0})
        wanted = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
        found = offsets.committed(consumer, wanted)
        consumer.close()
        return sum(max(0, at.offset) for at in found)

    def wait(self, events: int) -> None:
        wait(lambda: self.committed() >= events)

    def ends(self, topic: str) -> list[tuple[int, int]]:
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "reader", "log_level": 0})
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        found = [consumer.get_watermark_offsets(place, timeout=20) for place in places]
        consumer.close()
        return found

    def read(self, topic: str) -> list[tuple[int, int, bytes, bytes | None]]:
        """(partition, offset, key, value) of everything in a topic."""
        config = {"bootstrap.servers": self.kafka.bootstrap, "group.id": "reader", "log_level": 0}
        consumer = Consumer(
            {**config, "enable.partition.eof": True}
        )  # the last records may be commit markers
        found = []
        for number, (low, _) in enumerate(self.ends(topic)):
            consumer.assign([TopicPartition(topic, number, low)])
            while True:
                message = consumer.poll(20.0)
                assert message is not None
                if message.error() is not None:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    break
                found.append((number, message.offset(), message.key(), message.value()))
        consumer.close()
        return found

    def rows(self) -> dict[tuple[int, bytes], bytes]:
        """The newest row of each customer, every word of it."""
        newest = {(n, k): v for n, _, k, v in self.read("customers-changelog") if not k.startswith(b"\0")}
        return {place: unpacked(value) for place, value in newest.items() if value is not None}

    def ledger(self) -> dict[str, list[dict[str, Any]]]:
        ledger = Ledger(self.settings.ledger_url)
        with ledger.reading() as connection:
            found = {
                table.name: [dict(row) for row in connection.execute(select(table).order_by("id")).mappings()]
                for table in (ALERTS, OFFERS)
            }
        ledger.close()
        return found


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(30)
    if process.stdout is not None:
        process.stdout.close()


def wait(condition: Any) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def unpacked(value: bytes) -> bytes:
    row: bytes = oracle.unpacked(value, Rig().work.layout.default_row).tobytes()
    return row
