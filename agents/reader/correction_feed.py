"""Corrections of readings: each reader learns all of them from the first one on, so that their log is the state.

They are in one partition, because readers learn them in order. The same log gives every reader the same bytes, on
every machine and after every restart. A change of the phrases or of the learning itself needs only a restart.
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
WINDOW = 1 << 20  # ids: a long file that is sent again is learned once, for 100 MB at most
REFUSED_KEPT = 100


class CorrectionFeed(TopicFeed):
    """A thread that hands every correction to `learn`, in order, once for each id.

    `learn` is called in this thread. `caught_up` is set once all corrections that were there at the start are handed
    over. `position`: the next offset. The feed refuses records that teach nothing; they stay in the topic for good.
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
        """Learn the record at `offset`."""
        if offset < self.position:  # the client reads it again after an error
            return
        if self.position == 0 < offset:
            self.missed = offset
            log.error("%s: the first %d corrections are gone; is its retention.ms -1?", CORRECTIONS, offset)
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
    """Decode the correction in a record's value. Raises `Poison` if there is none, or if it teaches nothing."""
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
