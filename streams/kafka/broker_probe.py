"""Asks the broker itself, beside the clients that do the work: a client that stopped fetching does not see its lag."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from .connection import Kafka, librdkafka_settings

PartitionKey = tuple[str, int]
ANSWER_S = 5.0
ASK_EVERY_S = 10.0


class BrokerProbe:
    """Asks the broker for partitions' ends, in the caller's thread. `away`: why it did not answer, "" when it did."""

    def __init__(self, bootstrap: Kafka, *, every_s: float = ASK_EVERY_S, answer_s: float = ANSWER_S) -> None:
        self._bootstrap, self._every_s, self._answer_s = bootstrap, every_s, answer_s
        self._client: Any = None
        self._ends: dict[PartitionKey, int] = {}
        self._asked_at = float("-inf")
        self.away = ""

    def ends(self, places: Iterable[PartitionKey]) -> dict[PartitionKey, int]:
        """Return the last stable offsets as of some seconds ago, without those that are not known."""
        wanted = set(places)
        if wanted and time.monotonic() - self._asked_at >= self._every_s:
            self._ask(wanted)
        return {place: self._ends[place] for place in wanted if place in self._ends}

    def ask(self) -> str:
        """Ask whether the broker answers; returns `away`."""
        try:
            self._admin().list_topics(timeout=self._answer_s)
            self.away = ""
        except KafkaException as error:
            self.away = f"no Kafka broker answers at {self._bootstrap}: {error.args[0].str()}"
            self._client = None
        return self.away

    def _admin(self) -> Any:
        if self._client is None:
            self._client = AdminClient({**librdkafka_settings(self._bootstrap), "log_level": 0})
        return self._client

    def _ask(self, wanted: set[PartitionKey]) -> None:
        self._asked_at = time.monotonic()
        self._ends = {}
        if self.ask():
            return
        request = {TopicPartition(*place): OffsetSpec.latest() for place in wanted}
        try:
            found = self._admin().list_offsets(
                request, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._answer_s
            )
            self._ends = {
                (at.topic, at.partition): future.result(self._answer_s).offset for at, future in found.items()
            }
        except (KafkaException, TimeoutError):
            self._client = None  # this client still asks the leaders of before an outage; a new one does not
