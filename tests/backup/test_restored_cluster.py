"""Promise: what is restored from a backup of a running cluster goes on as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from sqlalchemy import select

import schemas
from agents.backups import drill, make_backup, restore_backup
from agents.together import RoleProcess, environment
from agents.topics import topics
from backup.key import new_key, read_key
from bench.servers import KafkaServer
from config.settings import load_settings
from models.snapshot import LINEAR, Snapshot
from serving.ledger import Ledger
from serving.tables import ALERTS, OFFERS, storable
from streams.errors import Fatal
from streams.packing import unpack_rows
from streams.topics import ensure
from tests.doubles import Rig
from tests.doubles.rig import shipped_config, weights
from tests.reference import streams
from tests.reference.record import Log

ROOT = Path(__file__).parents[2]
SOURCES = list(streams.TOPICS)
PARTITIONS = 4
EVENTS = 8_000
START_MS = 1_500_000_000_000  # so that it ends in the past: Kafka refuses records of tomorrow
RECORDS_A_BATCH = 25
PAUSE_S = 0.02  # a batch
PATIENCE_S = 60.0
KEEP = {"log.retention.ms": "-1"}


def recorded() -> Log:
    """No two events at one time and none late, so that they merge in one way only."""
    steps = streams.random_steps(11, EVENTS, customers=120, bad=0.0, late=0.0, jump=0.001)
    punctual = [replace(step, advance_ms=max(1, step.advance_ms), skipped_offsets=0) for step in steps]
    return streams.build(punctual, PARTITIONS, START_MS)


LOG = recorded()
SNAPSHOTS = weights(3)


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

    def send_snapshots(self) -> None:
        names = shipped_config().models.names
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        for model, found in SNAPSHOTS.items():
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

    def backup(self, path: str, key: str, since: str | None = None) -> dict[str, Any]:
        base = Path(since) if since else None
        return make_backup(self.settings, Path(path), since=base, key=read_key(Path(key)), quiet=True)

    def committed(self, group: str = "streamwise-worker", names: list[str] = SOURCES) -> int:
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": group, "log_level": 0})
        wanted = [TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
        found = consumer.committed(wanted, timeout=20)
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
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "reader", "log_level": 0})
        found = []
        for number, (low, high) in enumerate(self.ends(topic)):
            consumer.assign([TopicPartition(topic, number, low)])
            position = low
            while position < high:
                message = consumer.poll(20.0)
                assert message is not None
                assert message.error() is None
                position = message.offset() + 1
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
    import numpy as np

    bits = np.zeros((1, Rig().work.layout.words), np.int64)
    one = np.array([0])
    assert unpack_rows(np.frombuffer(value, np.uint8), one, np.array([len(value)]), one, bits) < 0
    return bits.tobytes()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"
    with ExitStack() as found:
        yield found


def undisturbed() -> Rig:
    rig = Rig(SNAPSHOTS)
    rig.feed({place: streams.cut(records, [RECORDS_A_BATCH], ["none"]) for place, records in LOG.items()})
    return rig


def test_a_new_cluster_goes_on_where_a_backup_of_the_running_old_one_ends(
    stack: ExitStack, tmp_path: Path
) -> None:
    old = Cluster(stack, tmp_path / "old")
    old.topics()
    old.send_snapshots()
    middle_ms = sorted(one.timestamp for found in LOG.values() for one in found)[int(0.75 * EVENTS)]
    old.send({place: [one for one in found if one.timestamp < middle_ms] for place, found in LOG.items()})
    key, full, more = (str(tmp_path / name) for name in ("key", "full.backup", "more.backup"))
    new_key(Path(key))
    ledger, worker = old.role("ledger"), old.worker(PAUSE_S)
    old.wait(EVENTS // 5)
    first = old.backup(full, key)
    old.wait(EVENTS // 2)
    second = old.backup(more, key, since=full)
    died = old.cli(
        "backup", never := str(tmp_path / "never"), "--key", key, killed=("backup.archive:Writer._chunk", 3)
    )
    assert died.returncode == -signal.SIGKILL
    assert not Path(never).exists()
    trial = drill(old.settings, Path(more), key=read_key(Path(key)), quiet=True)
    assert (trial["ok"], trial["not_compared_with_cluster"]) == (True, ""), trial
    compared = trial["compared"]
    assert compared["rows"] == 120
    assert compared["control rows"] == PARTITIONS
    assert compared["snapshots"] == len(SNAPSHOTS)
    assert compared["live rows"] + compared.get("live rows changed since", 0) == 120
    assert compared["live outputs"] == first["outputs"] + second["outputs"]
    for name in ("alerts", "offers"):
        assert compared[f"rows of {name}"] == compared[f"live rows of {name}"] == first["tables"][name] > 0
    assert (first["kind"], second["kind"], second["parent"]) == ("full", "increment", first["id"])
    end(worker)
    ledger.terminate()

    new = Cluster(stack, tmp_path / "new")
    arguments = ("restore", more, "--key", key, "--json")
    for place in (
        ("backup.place:Cluster.delete_before", 1),  # sources are filled
        ("backup.restore:Restore._send", 4),
        ("backup.restore:_commit", 3),  # all but the offsets
    ):
        assert new.cli(*arguments, killed=place).returncode == -signal.SIGKILL, place
    secret = read_key(Path(key))
    restored = restore_backup(new.settings, [Path(more)], key=secret, quiet=True)
    assert restored["new_sources"] == len(LOG)
    with pytest.raises(Fatal, match=r"is not empty, as a restore of backup \w+ was done here: "):
        restore_backup(new.settings, [Path(full), Path(more)], key=secret, quiet=True)

    starts = {(t, n): low for t in SOURCES for n, (low, high) in enumerate(new.ends(t)) if low == high}
    assert starts.keys() == LOG.keys()
    assert EVENTS // 2 <= new.committed() == sum(starts.values()) < EVENTS
    rest = {place: [one for one in found if one.offset >= starts[place]] for place, found in LOG.items()}
    new.send(rest)
    new.role("ledger")
    worker = new.worker(0.0)
    new.wait(EVENTS)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0

    expected = undisturbed()
    rows, wanted = new.rows(), expected.row_bytes()
    assert rows.keys() == wanted.keys()
    assert [place for place in rows if rows[place] != wanted[place]] == []
    decisions: dict[str, dict[str, dict[str, Any]]] = {"alerts": {}, "offers": {}}
    for sent in expected.outputs.sent:
        if sent.topic in decisions:
            decision = schemas.decode(sent.value)[1]
            decisions[sent.topic][storable(decision["id"])] = decision
    assert all(decisions.values())
    counts = {name: len(found) for name, found in decisions.items()}
    wait(lambda: {name: len(found) for name, found in new.ledger().items()} == counts)
    for name, kept in new.ledger().items():
        assert {row["id"]: (row["policy"], row["time"], row["offset"]) for row in kept} == {
            id_: (d["policy"], d["time"], d["offset"]) for id_, d in decisions[name].items()
        }
    examples = [s for s in expected.outputs.sent if s.topic == "training.examples"]
    found = [schemas.decode(value or b"")[1]["id"] for *_, value in new.read("training.examples")]
    assert set(found) == {schemas.decode(sent.value)[1]["id"] for sent in examples}
