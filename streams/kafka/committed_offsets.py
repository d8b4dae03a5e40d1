"""What a group has committed, asked of a broker that may have started a moment ago."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition


def committed(
    consumer: Consumer, places: Sequence[TopicPartition], patience_s: float = 30.0
) -> list[TopicPartition]:
    """A broker says that it is not the coordinator until it has made its topic of offsets and loaded it."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return list(consumer.committed(list(places), timeout=patience_s))
        except KafkaException as error:
            passing = error.args[0].retriable() or error.args[0].code() == KafkaError.NOT_COORDINATOR
            if not passing or time.monotonic() > until:
                raise
            time.sleep(0.1)
