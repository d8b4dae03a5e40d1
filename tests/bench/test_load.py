"""bench/load.py: what was made beforehand arrives whole, and where a producer would have put it."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from bench import load
from bench.workload import product_mix as mix
from streams.kafka.embedded_broker import PARTITIONS, EmbeddedBroker

RATE, SECONDS, CUSTOMERS = 4_000, 1.0, 50


def places(bootstrap: str, topic: str, count: int) -> dict[bytes, set[int]]:
    """The partitions that hold each key, of so many records."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "log_level": 0})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found: dict[bytes, set[int]] = {}
    messages = consumer.consume(count, 30.0)
    consumer.close()
    assert len(messages) == count
    for message in messages:
        found.setdefault(message.key(), set()).add(message.partition())
    return found


def test_all_events_arrive_in_the_partitions_that_librdkafka_chooses() -> None:
    with EmbeddedBroker() as broker:
        broker.make_topics([*mix.TOPICS, "chosen"])
        load.start_load(broker.bootstrap, RATE, SECONDS, CUSTOMERS, PARTITIONS).result(30)
        (chunk,) = mix.chunks(int(RATE * SECONDS), CUSTOMERS, first_ms=0, step_ms=1.0)
        sent = {
            key: where
            for part in chunk
            for key, where in places(broker.bootstrap, part.topic, len(part.keys)).items()
        }
        producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})
        for key in sent:
            producer.produce("chosen", b"", key)
        assert producer.flush(30) == 0
        assert sent == places(broker.bootstrap, "chosen", len(sent))


def test_what_the_broker_refuses_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "murmur2", lambda key: PARTITIONS)  # a partition that is not there
    with EmbeddedBroker() as broker:
        broker.make_topics(mix.TOPICS)
        loading = load.start_load(broker.bootstrap, RATE, SECONDS, CUSTOMERS, PARTITIONS + 1)
        with pytest.raises(RuntimeError, match=r"events\[4\] refused events: UnknownTopicOrPartitionError"):
            loading.result(30)
