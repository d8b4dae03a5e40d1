"""Reads model snapshots from their compacted topic, which each role reads whole, outside any consumer group."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

import schemas
from models.scoring import Snapshot
from streams.errors import Poison, Retryable
from streams.kafka import WAIT_S, Kafka, TopicFeed

log = logging.getLogger(__name__)

REFUSED_KEPT = 100


class SnapshotFeed(TopicFeed):
    """A thread that hands each snapshot of `topic` to `take`, oldest first, and refuses those that do not verify.

    `take` is called in this thread. `caught_up` is set once all snapshots that were there at the start are handed over.
    """

    def __init__(
        self, bootstrap: Kafka, topic: str, features: Sequence[str], take: Callable[[Snapshot], None]
    ) -> None:
        more = {"auto.offset.reset": "earliest", "enable.partition.eof": True}
        super().__init__(
            bootstrap, name="snapshots", what="snapshots", group="streamwise-snapshots", more=more
        )
        self._topic, self._features, self._take = topic, tuple(features), take
        self.caught_up = threading.Event()
        self.refused: deque[str] = deque(maxlen=REFUSED_KEPT)  # the latest

    def _read(self, consumer: Any) -> None:
        waiting = set(_partitions(consumer, self._topic))
        consumer.assign([TopicPartition(self._topic, number, 0) for number in waiting])
        while not self._stop.is_set():
            message = consumer.poll(WAIT_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                self._handle(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition())
                if not waiting:
                    self.caught_up.set()

    def _handle(self, message: Any) -> None:
        value = message.value()
        if value is None:
            return
        try:
            snapshot = read_snapshot(value)
            snapshot.verify(self._features)
            check_key(message.key(), snapshot)
        except Poison as error:
            self.refused.append(str(error))
            log.warning("%s; the snapshot in force stays", error)
            return
        self._take(snapshot.aligned(self._features))


def check_key(key: bytes | None, snapshot: Snapshot) -> None:
    """Raise `Poison` unless the key names this snapshot, because old versions are deleted by key."""
    if key != snapshot_key(snapshot.model, snapshot.version):
        raise Poison(f"snapshot {snapshot.model}/{snapshot.version} refused: its key is {key!r}")


def snapshot_key(model: str, version: int) -> bytes:
    """Return the key of a snapshot's record."""
    return f"{model}/{version}".encode()


def read_snapshot(value: bytes) -> Snapshot:
    """Decode a snapshot from a record's value. Raises `Poison` if it is not one."""
    try:
        name, record = schemas.decode(value)
    except schemas.SchemaError as error:
        raise Poison(f"not a model snapshot: {error}") from error
    if name != "model_snapshot":
        raise Poison(f"not a model snapshot but a {name}")
    return Snapshot.from_record(record)


def _partitions(consumer: Any, topic: str, patience_s: float = 10.0) -> list[int]:
    """Return the partitions of a topic; wait up to `patience_s` for one that has just been created."""
    until = time.monotonic() + patience_s
    while True:
        found = consumer.list_topics(topic, timeout=10).topics.get(topic)
        if found is not None and found.error is None and found.partitions:
            return list(found.partitions)
        if time.monotonic() > until:
            raise Retryable(f"topic {topic} is not there; make it with `streamwise topics`")
        time.sleep(0.1)
