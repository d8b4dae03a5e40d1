"""Reads a topic to its present end, outside any consumer group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import Retryable

from .connection import Kafka, librdkafka_settings

TIMEOUT_S = 30.0
AT_ONCE, WAIT_S = 1000, 0.1  # records asked for at a time, and how long to wait for so many


class Record(NamedTuple):
    """One record of a topic; a `value` of None is a tombstone."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def read_to_end(
    kafka: Kafka,
    topic: str,
    *,
    group: str,
    partitions: Sequence[int] | None = None,
    last: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Record]:
    """Yield the records of a topic, each partition's in order, up to the end that it has when the reader gets there.

    It begins at the first record (with `last`, that many offsets before the end) and reads all `partitions` unless some
    are given. It stops before an open transaction, and skips records that were rolled back or compacted away. It raises
    `Retryable` when the topic or the broker is missing, refuses, or gives nothing for `timeout_s`: the records so far
    are then not all. Nobody joins `group`, but librdkafka asks for its coordinator, so it needs the permission to.
    """
    consumer = open_consumer(kafka, group, {"auto.offset.reset": "earliest"})
    try:
        numbers = _partitions(consumer, topic, timeout_s) if partitions is None else partitions
        consumer.assign([_start(consumer, topic, number, last, timeout_s) for number in numbers])
        yield from _read(consumer, topic, set(numbers), timeout_s)
    except KafkaException as error:
        raise _unreadable(topic, error.args[0].str()) from error
    finally:
        consumer.close()


def open_consumer(kafka: Kafka, group: str, more: dict[str, Any]) -> Any:
    """Make a consumer for partitions that are assigned by hand."""
    return Consumer(
        {
            **librdkafka_settings(kafka),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
            "log_level": 0,
            **more,
        }
    )


def _partitions(consumer: Any, topic: str, timeout_s: float) -> list[int]:
    found = consumer.list_topics(topic, timeout=timeout_s).topics[topic]
    if found.error is not None:
        raise Retryable(f"topic {topic} is not there; make it with `streamwise topics`")
    return list(found.partitions)


def _start(consumer: Any, topic: str, number: int, last: int | None, timeout_s: float) -> TopicPartition:
    if last is None:
        return TopicPartition(topic, number, OFFSET_BEGINNING)
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=timeout_s)
    return TopicPartition(topic, number, max(low, high - last))


def _read(consumer: Any, topic: str, waiting: set[int], timeout_s: float) -> Iterator[Record]:
    until, why = time.monotonic() + timeout_s, f"it gave nothing for {timeout_s:.0f} s"
    while waiting:
        messages = consumer.consume(AT_ONCE, WAIT_S)
        for message in messages:
            error = message.error()
            if error is None:
                yield Record(message.partition(), message.offset(), message.key(), message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition())
            elif message.topic() is None:  # a broker or coordinator that does not answer now may do so soon
                why = error.str()
                continue
            else:
                raise _unreadable(topic, error.str())
            until = time.monotonic() + timeout_s
        if waiting and time.monotonic() > until:
            raise _unreadable(topic, why)


def _unreadable(topic: str, why: str) -> Retryable:
    return Retryable(f"topic {topic} cannot be read to its end: {why}; check the broker")
