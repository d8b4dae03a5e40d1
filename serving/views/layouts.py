"""What the layouts of this installation are, those of other versions included: a compacted topic that workers write.

Views in Redis, receipts and examples name the layout of the worker that wrote them. During an upgrade there are two.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from customers.row import Described, Layout
from schemas.topics import LAYOUTS
from streams.errors import Retryable
from streams.kafka import Kafka, librdkafka_settings

TIMEOUT_S = 5.0
AGAIN_S = 1.0  # the topic is not read more often than this, however many unknown layouts are asked for


def entry(layout: Layout) -> dict[str, bytes]:
    """The record that a worker sends when it starts."""
    return {"key": str(layout.layout_id).encode(), "value": layout.description}


class Layouts:
    """Descriptions by layout id; one that is not known yet is looked for in the topic. Any thread may ask."""

    def __init__(
        self, bootstrap: Kafka, own: Layout | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bootstrap, self._clock = bootstrap, clock
        self._known = {own.layout_id: Described.of(own.description)} if own is not None else {}
        self._lock = threading.Lock()
        self._read_at = -AGAIN_S

    def get(self, layout_id: int) -> Described | None:
        """The layout of this id, None when nobody described it. Raises `Retryable` when no broker answers."""
        with self._lock:
            if layout_id not in self._known and self._clock() - self._read_at >= AGAIN_S:
                self._known |= _read(self._bootstrap)
                self._read_at = self._clock()
            return self._known.get(layout_id)


def _read(bootstrap: Kafka) -> dict[int, Described]:
    consumer = Consumer(
        {
            **librdkafka_settings(bootstrap),
            "group.id": "streamwise-layouts",  # never used: partitions are assigned by hand
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    found: dict[int, Described] = {}
    try:
        waiting = set(consumer.list_topics(LAYOUTS, timeout=TIMEOUT_S).topics[LAYOUTS].partitions)
        consumer.assign([TopicPartition(LAYOUTS, number, 0) for number in waiting])
        until = time.monotonic() + TIMEOUT_S
        while waiting:
            for message in consumer.consume(100, 0.1):
                error = message.error()
                if error is None and message.value() is not None:
                    found[int(message.key())] = Described.of(message.value())
                elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                    waiting.discard(message.partition())
            if waiting and time.monotonic() > until:
                raise Retryable(
                    f"topic {LAYOUTS} could not be read to its end in {TIMEOUT_S:.0f} s; check the broker"
                )
    except KafkaException as error:
        raise Retryable(f"topic {LAYOUTS} cannot be read: {error.args[0].str()}; check the broker") from error
    finally:
        consumer.close()
    return found
