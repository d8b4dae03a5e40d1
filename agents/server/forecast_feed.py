"""Reads forecasts and departures from their topics, without a consumer group."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from confluent_kafka import TopicPartition

import schemas
from console.forecasts import ForecastBoard
from schemas.topics import DEPARTURES, FORECASTS
from streams.kafka import Kafka, TopicFeed

from .decision_feed import BEFORE, TIMEOUT_S

log = logging.getLogger(__name__)


class OutlookFeed(TopicFeed):
    """A thread that puts every forecast and the newest departures on a board."""

    def __init__(self, bootstrap: Kafka, outlooks: ForecastBoard) -> None:
        more = {"auto.offset.reset": "earliest"}
        super().__init__(bootstrap, name="outlooks", what="forecasts", group="streamwise-outlooks", more=more)
        self._outlooks = outlooks

    def _read(self, consumer: Any) -> None:
        consumer.assign(list(_starts(consumer)))
        while not self._stop.is_set():
            for message in self._received(consumer, 500):
                if message.error() is None:
                    self._show(message.topic(), message.key() or b"", message.value())

    def _show(self, topic: str, key: bytes, value: bytes | None) -> None:
        try:
            record = None if value is None else schemas.decode(value)
        except schemas.SchemaError as error:
            log.warning("a record of %s cannot be shown: %s", topic, error)
            return
        if topic == FORECASTS and (record is None or record[0] == "forecast"):
            self._outlooks.put(key, None if record is None else record[1])
        elif topic == DEPARTURES and record is not None and record[0] == "departure":
            self._outlooks.add_departure(record[1])


def _starts(consumer: Any) -> Iterator[TopicPartition]:
    """Yield where to start: at the first forecast, and near the end of the departures."""
    for topic in (FORECASTS, DEPARTURES):
        for number in consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions:
            start = TopicPartition(topic, number)
            first, end = consumer.get_watermark_offsets(start, timeout=TIMEOUT_S)
            start.offset = first if topic == FORECASTS else max(first, end - BEFORE)
            yield start
