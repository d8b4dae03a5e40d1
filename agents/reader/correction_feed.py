"""Corrections of readings: each reader learns all of them from the first one on, so their log is the state.

They stand in one partition, as they are learned in their order. Whoever reads the same log comes to the same bytes,
on every machine and after every restart, and learns anew when phrases or the learning itself change.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

import schemas
from agents.topology import groups
from models.text import Correction
from schemas.topics import CORRECTIONS
from streams.errors import Poison
from streams.intake import RecentIds
from streams.kafka import Kafka, TopicFeed

log = logging.getLogger(__name__)

PARTITION = 0
WINDOW = 1 << 20  # a long file that is sent once more is learned once, for 100 MB at most
REFUSED_KEPT = 100


class CorrectionFeed(TopicFeed):
    """A thread that hands every correction to `learn`, in order, once for each id.

    `learn` is called in this thread. `caught_up` is set when all that was there at the start has been handed over.
    `position`: the next offset. What cannot be learned is refused and stays in the topic, which is kept for good.
    """

    def __init__(self, bootstrap: Kafka, learn: Callable[[Correction], object]) -> None:
        more = {"auto.offset.reset": "earliest", "enable.partition.eof": True}
        super().__init__(
            bootstrap, name="corrections", what="corrections", group=groups.CORRECTIONS, more=more
        )
        self._learn = learn
        self.caught_up = threading.Event()
        self.position = self.learned = self.refused = self.missed = 0
        self.reasons: deque[str] = deque(maxlen=REFUSED_KEPT)  # the latest
        self._seen = RecentIds(WINDOW)

    def take(self, offset: int, value: bytes | None) -> None:
        """Learn what stands at `offset`."""
        if offset < self.position:  # read again after an error of the client
            return
        if self.position == 0 < offset:
            self.missed = offset
            log.error("%s: the first %d are gone; is its retention.ms -1?", CORRECTIONS, offset)
        self.position = offset + 1
        try:
            correction = correction_of(value)
            if self._seen.add(PARTITION, value):
                self._learn(correction)
                self.learned += 1
        except Poison as error:
            self._refuse(offset, str(error))

    def _refuse(self, offset: int, reason: str) -> None:
        self.refused += 1
        self.reasons.append(f"{offset}: {reason}")
        log.warning("%s[%d] at offset %d: %s", CORRECTIONS, PARTITION, offset, reason)

    def _read(self, consumer: Any) -> None:
        consumer.assign([TopicPartition(CORRECTIONS, PARTITION, self.position)])
        while not self._stop.is_set():
            for message in self._received(consumer, 500):
                error = message.error()
                if error is None:
                    self.take(message.offset(), message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    self.position = max(self.position, message.offset())
                    self.caught_up.set()


def correction_of(value: bytes | None) -> Correction:
    """The correction in a record's value. Raises `Poison` where there is none, or none that teaches anything."""
    if value is None:
        raise Poison("a correction without a value")
    try:
        name, record = schemas.decode(value)
    except schemas.SchemaError as error:
        raise Poison(f"not a correction: {error}") from error
    if name != "correction":
        raise Poison(f"not a correction but a {name}")
    rating = record["sentiment"]
    if rating is not None and not -1.0 <= rating <= 1.0:  # false for NaN
        raise Poison(f"correction {record['id']}: expected a sentiment from -1 to 1, got {rating}")
    if rating is None and not record["labels"]:
        raise Poison(f"correction {record['id']}: it says nothing of sentiment, topics or flags")
    return Correction(record["text"], rating, record["labels"], record["language"])
