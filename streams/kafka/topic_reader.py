"""The newest records of some partitions, read once."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import Retryable

from .connection import Kafka, librdkafka_settings

TIMEOUT_S = 30.0
Newest = tuple[int, bytes | None, bytes | None]  # partition, key, value


def read_tail(bootstrap: Kafka, topic: str, numbers: Sequence[int], window: int, group: str) -> list[Newest]:
    """The last `window` records of each partition, in its order; `group` is joined by nobody.

    Raises `Retryable` when they cannot be read.
    """
    consumer = Consumer(
        {
            **librdkafka_settings(bootstrap),
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    found: list[Newest] = []
    try:
        places = []
        for number in numbers:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_S)
            places.append(TopicPartition(topic, number, max(low, high - window)))
        consumer.assign(places)
        waiting = set(numbers)
        until = time.monotonic() + TIMEOUT_S
        while waiting:
            for message in consumer.consume(1000, 0.1):
                error = message.error()
                if error is None:
                    found.append((message.partition(), message.key(), message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(message.partition())
            if waiting and time.monotonic() > until:
                raise Retryable(
                    f"topic {topic} could not be read to its end in {TIMEOUT_S:.0f} s; check the broker"
                )
    except KafkaException as error:
        raise Retryable(f"topic {topic} cannot be read: {error.args[0].str()}; check the broker") from error
    finally:
        consumer.close()
    return found
