"""Computes the expected result: one undisturbed pass in this process over the topics as the broker holds them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

import schemas
from pipeline.config import Config
from pipeline.live_pass import LivePass
from streams.batches import raw_batch
from streams.engine import Engine
from streams.kafka import Outputs
from streams.state import unpack_values

BATCH = 500
TIMEOUT_S = 60.0
LOOK_S = 0.1
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the broker holds it."""

    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int


Log = dict[Place, list[Record]]


def read(bootstrap: str, topics: Sequence[str]) -> Log:
    """Read these topics, without aborted transactions."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "faults-oracle", "enable.auto.commit": False}
    more = {"enable.partition.eof": True, "isolation.level": "read_committed", "log_level": 0}
    consumer = Consumer({**settings, **more, "auto.offset.reset": "earliest"})
    found: Log = {}
    try:
        held = consumer.list_topics(timeout=TIMEOUT_S).topics
        at = [TopicPartition(topic, number, 0) for topic in topics for number in held[topic].partitions]
        waiting = {(tp.topic, tp.partition) for tp in at}
        found = {place: [] for place in sorted(waiting)}
        consumer.assign(at)
        until = time.monotonic() + TIMEOUT_S
        while waiting:
            messages = consumer.consume(10_000, LOOK_S)
            if time.monotonic() > until:
                raise RuntimeError(f"{sorted(waiting)} could not be read to their ends in {TIMEOUT_S:.0f} s")
            for message in messages:
                place = (message.topic(), message.partition())
                if message.error() is None:
                    record = Record(message.offset(), message.key(), message.value(), message.timestamp()[1])
                    found[place].append(record)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    waiting.discard(place)
    finally:
        consumer.close()
    return found


class _Kept:
    """Replaces `streams.kafka.producer.Outputs`; keeps the messages."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    def send(self, topic: str, messages: Sequence[dict[str, Any]], partition: int = -1) -> None:
        self.sent += [(topic, message["value"]) for message in messages]


@dataclass(slots=True)
class State:
    """A result: rows by (partition, key), outputs by (topic, id), and the positions of dead-lettered records."""

    rows: dict[tuple[int, bytes], Any] = field(default_factory=dict)
    outputs: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    letters: set[tuple[str, int, int]] = field(default_factory=set)

    def output(self, topic: str, value: bytes) -> None:
        """Add one record of an output topic."""
        name, record = schemas.decode(value)
        if topic == "dead-letters":
            self.letters.add((record["topic"], record["partition"], record["offset"]))
        else:
            assert name in ("decision", "training_example")
            self.outputs.setdefault((topic, record["id"]), []).append(record)


def undisturbed(config: Config, log: Mapping[Place, Sequence[Record]]) -> State:
    """Fold the source topics of `log` once; the engine knows their ends from the start."""
    work = LivePass(config)
    kept = _Kept()
    topics = work.layout.topics
    engine = Engine(topics, work, cast(Outputs, kept))
    for number in sorted({number for topic, number in log if topic in topics}):
        partition = engine.partition(number)
        partition.activate()
        partition.positions[:] = 0
        for which, topic in enumerate(topics):
            records = log[topic, number]
            partition.ends[which] = records[-1].offset + 1 if records else 0
        for topic in topics:
            records = log[topic, number]
            for start in range(0, len(records), BATCH):
                some = records[start : start + BATCH]
                assert some[-1].offset - some[0].offset == len(some) - 1, "a source topic has gaps"
                pairs = [(record.key, record.value) for record in some]
                engine.receive(topic, number, raw_batch(some[0].offset, pairs, some[-1].time_ms))
        engine.fold(partition)
    state = State()
    for number, partition in engine.partitions.items():
        slots = partition.held_slots()
        rows = partition.rows.copy(slots)
        for key, row in zip(partition.index.keys(slots), rows, strict=True):
            if row[0]:
                state.rows[number, key] = row
    for topic, value in kept.sent:
        state.output(topic, value)
    return state


def found(
    config: Config, log: Mapping[Place, Sequence[Record]], changelog: str, outputs: Sequence[str]
) -> State:
    """Return what the roles left in the changelog and the output topics."""
    state = State()
    new = config.layout.default_row
    for (topic, number), records in log.items():
        if topic == changelog:
            rows = {r.key: r.value for r in records if r.key and not r.key.startswith(b"\0")}
            for key, value in rows.items():
                if value is not None:
                    state.rows[number, key] = unpacked(value, new)
        elif topic in outputs:
            for record in records:
                if record.value is not None and _is_ours(record.value):
                    state.output(topic, record.value)
    return state


def _is_ours(value: bytes) -> bool:
    try:
        return schemas.decode(value)[0] in ("decision", "training_example", "dead_letter")
    except schemas.SchemaError:
        return False


def unpacked(value: bytes, new: Any) -> Any:
    """Unpack a row from its changelog value; `new`: a default row of its layout. Both float64[words]."""
    row = np.zeros((1, len(new)))
    bits = new.view(np.int64).reshape(1, -1)
    data = np.frombuffer(value, np.uint8)
    at, size = np.array([0]), np.array([len(value)])
    assert unpack_values(data, at, size, bits, row.view(np.int64)) < 0, "a changelog row is not whole"
    return row[0]
