"""Finds where a restore may write, and advances a new topic to the end offset of the old one.

Everything refers to offsets: rows to the events that they hold, ids of alerts to the event that caused them, the
ledger and the snapshots to what they have consumed. So a new topic must go on at the offset of the old one. The
restore fills it with empty records up to there and deletes them before anybody reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, Producer

from backup.topic_log import TIMEOUT_S, Cluster, Log
from streams.errors import Fatal, Retryable

FILLER_KEY = b"\0streamwise-filler"
AT_ONCE = 5000
DROP_EVERY = 2_000_000  # fillers; so that a broker never keeps many of them


class Sink:
    """Sends records to given partitions in order; `flush` returns when the broker has acknowledged all."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        more = {"enable.idempotence": True, "acks": "all", "compression.type": "lz4", "linger.ms": 20}
        room = {"queue.buffering.max.messages": 200_000, "queue.buffering.max.kbytes": 64 << 10}
        self._producer = Producer({**client, **more, **room, "batch.num.messages": 100_000})
        self._failure = ""

    def send(self, topic: str, number: int, records: list[tuple[bytes, bytes | None]]) -> None:
        """Queue records; wait while the queue is full."""
        waiting: list[Any] = [{"key": key, "value": value} for key, value in records]
        while waiting:
            self._producer.produce_batch(topic, waiting, partition=number, on_delivery=self._delivered)
            waiting = [self._again(message) for message in waiting if "_error" in message]
            self._producer.poll(0.01 if waiting else 0)
            self._check()

    def _again(self, message: dict[str, Any]) -> dict[str, Any]:
        error = message.pop("_error")
        if error.code() != KafkaError._QUEUE_FULL:
            raise Fatal(f"a record cannot be written: {error.str()}")
        return message

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None and not self._failure:
            self._failure = f"{message.topic()}[{message.partition()}]: {error.str()}"

    def _check(self) -> None:
        if self._failure:
            raise Fatal(
                f"the broker refused a record of {self._failure}; solve this and start the restore again"
            )

    def flush(self) -> None:
        """Wait until the broker has acknowledged every record."""
        if self._producer.flush(4 * TIMEOUT_S):
            raise Retryable("the broker does not acknowledge; start the restore again when it is there")
        self._check()


@dataclass(frozen=True, slots=True)
class TargetPartition:
    """A partition of a source or output topic, and the offset `wanted` for its next record.

    `low` and `high`: its bounds before the restore. `fresh`: it is empty or holds only fillers.
    """

    topic: str
    number: int
    wanted: int
    low: int
    high: int
    fresh: bool

    @property
    def missing(self) -> int:
        """The number of fillers that it needs."""
        return max(0, self.wanted - self.high) if self.fresh else 0


def look_at(log: Log, topic: str, number: int, wanted: int) -> TargetPartition:
    """Return the state of a partition."""
    low, high = log.bounds(topic, number)
    fresh = low == high
    if not fresh and high <= wanted:  # an interrupted restore may have left fillers
        fresh = all(record.key == FILLER_KEY for record in log.read(topic, number, high - 1, high))
    return TargetPartition(topic, number, wanted, low, high, fresh)


def fill(sink: Sink, cluster: Cluster, places: list[TargetPartition], advance: Callable[[int], None]) -> None:
    """Advance fresh partitions to their wanted offsets, and delete the fillers."""
    fillers: list[tuple[bytes, bytes | None]] = [(FILLER_KEY, None)] * AT_ONCE
    for place in places:
        left, written = place.missing, 0
        while left:
            some = min(left, AT_ONCE)
            sink.send(place.topic, place.number, fillers[:some])
            left -= some
            written += some
            advance(some)
            if written % DROP_EVERY == 0:
                sink.flush()
                cluster.delete_before({(place.topic, place.number): place.high + written})
    sink.flush()
    cluster.delete_before({(p.topic, p.number): p.wanted for p in places if p.fresh and p.low < p.wanted})
