"""Asks for a group's committed offsets, also from a broker that started a moment ago."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition


def committed(
    consumer: Consumer, places: Sequence[TopicPartition], patience_s: float = 30.0
) -> list[TopicPartition]:
    """Return the committed offsets; ask again for `patience_s`.

    A broker says that it is not the coordinator until it has created and loaded its topic of offsets.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            return list(consumer.committed(list(places), timeout=patience_s))
        except KafkaException as error:
            passing = error.args[0].retriable() or error.args[0].code() == KafkaError.NOT_COORDINATOR
            if not passing or time.monotonic() > until:
                raise
            time.sleep(0.1)
