"""Reads the newest alerts and offers from the end of their topics, without a consumer group."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import TopicPartition

import schemas
from console.board import Board
from schemas.topics import ALERTS, OFFERS
from streams.errors import Retryable
from streams.kafka import Kafka, TopicFeed

log = logging.getLogger(__name__)

BEFORE = 20  # older records of each partition, so that a page that has just started is not empty
TIMEOUT_S = 10.0


class DecisionFeed(TopicFeed):
    """A thread that puts each new decision on a board, with its policy's message and its scores by name.

    `models`: the models of a layout, in the order of a decision's scores. `reasons`: explains a decision's score.
    `seen`: called with each decision, in this thread.
    """

    def __init__(
        self,
        bootstrap: Kafka,
        board: Board,
        *,
        messages: Mapping[str, str],
        models: Callable[[int], Sequence[str]],
        reasons: Callable[[Mapping[str, Any]], Sequence[str]] = lambda decision: (),
        seen: Callable[[Mapping[str, Any]], None] = lambda decision: None,
    ) -> None:
        more = {"auto.offset.reset": "latest"}
        super().__init__(
            bootstrap, name="decisions", what="alerts and offers", group="streamwise-decisions", more=more
        )
        self._board, self._seen = board, seen
        self._messages, self._models, self._reasons = dict(messages), models, reasons

    def _read(self, consumer: Any) -> None:
        """Read from the tails; after an error the board shows no decision twice."""
        consumer.assign(list(_tails(consumer)))
        while not self._stop.is_set():
            for message in self._received(consumer, 500):
                if message.error() is None and message.value() is not None:
                    self._show(message.value())

    def _show(self, value: bytes) -> None:
        try:
            name, record = schemas.decode(value)
        except schemas.SchemaError as error:
            log.warning("a decision cannot be shown: %s", error)
            return
        if name == "decision":
            scores = self._scores(record["receipt"])
            decision = {**record, "message": self._messages.get(record["policy"], ""), "scores": scores}
            decision["reasons"] = self._reasons(record)
            self._board.add_decision(decision)
            self._seen(decision)

    def _scores(self, receipt: Mapping[str, Any]) -> dict[str, float]:
        try:
            names = self._models(receipt["layout"])
        except Retryable as error:
            log.warning("a decision is shown without its scores: %s", error)
            names = []
        return dict(zip(names, receipt["scores"], strict=False))


def _tails(consumer: Any) -> Any:
    for topic in (ALERTS, OFFERS):
        for number in consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions:
            tail = TopicPartition(topic, number)
            first, end = consumer.get_watermark_offsets(tail, timeout=TIMEOUT_S)
            tail.offset = max(first, end - BEFORE)
            yield tail
