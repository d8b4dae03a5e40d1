"""A thread that reads topics beside any consumer group, for as long as its role runs."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException

from streams.errors import Retryable

from .connection import Kafka, librdkafka_settings

log = logging.getLogger(__name__)

AGAIN_S = 1.0
WAIT_S = 0.5  # how long until `stop` takes effect while no records come


class TopicFeed(ABC):
    """Reads from `start` to `stop`; after an error of the client it calls `_read` again.

    `name` is the thread's name; `what` names the topics in the log; nobody joins `group`, as partitions are assigned by
    hand; `more` are further settings of the consumer.
    """

    def __init__(self, bootstrap: Kafka, *, name: str, what: str, group: str, more: dict[str, Any]) -> None:
        self._what = what
        self._settings = {
            **librdkafka_settings(bootstrap), "group.id": group, "enable.auto.commit": False, "log_level": 0, **more,
        }  # fmt: skip
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _read(self, consumer: Any) -> None:
        """Assign the wanted partitions and read until `_stop` is set."""

    def start(self) -> Self:
        """Start reading."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _received(self, consumer: Any, most: int) -> list[Any]:
        """Return at most `most` messages as soon as there are any; none after `WAIT_S`."""
        first = consumer.poll(WAIT_S)
        return [] if first is None else [first, *consumer.consume(most - 1, 0)]

    def _run(self) -> None:
        while not self._stop.is_set():
            consumer = Consumer(self._settings)
            try:
                self._read(consumer)
            except (KafkaException, Retryable) as error:
                log.error("%s cannot be read: %s", self._what, error)
                self._stop.wait(AGAIN_S)
            finally:
                consumer.close()
