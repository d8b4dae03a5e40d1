"""A feed hands over what came as soon as it is there, and asks nobody while nothing comes."""

from __future__ import annotations

import threading
import time
from typing import Any

from confluent_kafka import Producer, TopicPartition

from streams.kafka.embedded_broker import EmbeddedBroker
from streams.kafka.topic_feed import WAIT_S, TopicFeed


class Noted(TopicFeed):
    def __init__(self, bootstrap: str) -> None:
        more = {"auto.offset.reset": "earliest"}
        super().__init__(bootstrap, name="noted", what="t", group="noted", more=more)
        self.turns: list[tuple[float, int]] = []
        self.all_there = threading.Event()

    def _read(self, consumer: Any) -> None:
        consumer.assign([TopicPartition("t", 0, 0)])
        while not self._stop.is_set():
            found = self._received(consumer, 1000)
            self.turns.append((time.monotonic(), len(found)))
            if sum(count for _, count in self.turns) == 500:
                self.all_there.set()


def test_what_lies_there_comes_in_few_pieces_and_an_idle_feed_turns_seldom() -> None:
    with EmbeddedBroker() as broker:
        broker.make_topics(["t"])
        producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 20})
        for number in range(500):
            producer.produce("t", value=b"%d" % number, partition=0)
        assert producer.flush(10) == 0
        feed = Noted(broker.bootstrap).start()
        assert feed.all_there.wait(20)
        busy = len([count for _, count in feed.turns if count])
        assert busy < 100
        before = len(feed.turns)
        time.sleep(4 * WAIT_S)
        assert len(feed.turns) - before <= 5
        begun = time.monotonic()
        feed.stop()
        assert time.monotonic() - begun < WAIT_S + 1.0
