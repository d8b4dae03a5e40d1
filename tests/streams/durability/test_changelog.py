"""One writer a partition: whoever takes it makes the broker refuse the one before."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.product import remove_topics
from bench.servers import KafkaServer
from streams.durability.changelog import FencedChangelog
from streams.errors import Fatal
from streams.kafka.embedded_broker import EmbeddedBroker
from streams.kafka.topic_admin import TopicSpec, ensure
from streams.state.row_batch import RowBatch

TOPIC = "customers-changelog"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as found:
        found.make_topics({TOPIC: TopicSpec(TOPIC)})
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    """The embedded broker refuses nobody."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"
    with KafkaServer() as found:
        yield found


@pytest.fixture
def kafka(server: KafkaServer) -> KafkaServer:
    """With the topic, empty."""
    remove_topics(server.bootstrap)
    ensure(server.bootstrap, {TOPIC: TopicSpec(TOPIC)}, partitions=2, replication=1)
    return server


Broker = EmbeddedBroker | KafkaServer
MakeChangelog = Callable[[Broker], FencedChangelog]


@pytest.fixture
def changelog() -> Iterator[MakeChangelog]:
    """Makes changelogs, and closes them in the end."""
    made: list[FencedChangelog] = []

    def make(broker: Broker) -> FencedChangelog:
        made.append(FencedChangelog(TOPIC, "group", broker.bootstrap))
        return made[-1]

    yield make
    for log in made:
        log.close()


def keys(broker: Broker, number: int) -> list[bytes]:
    config = {"bootstrap.servers": broker.bootstrap, "group.id": "reader", "log_level": 0}
    consumer = Consumer({**config, "enable.partition.eof": True})
    consumer.assign([TopicPartition(TOPIC, number, 0)])
    found = []
    while True:
        message = consumer.poll(10)
        assert message is not None
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF
            break
        found.append(message.key())
    consumer.close()
    return found


def row(key: bytes) -> list[dict[str, bytes]]:
    return [{"key": key, "value": b"row"}]


def test_rows_and_control_row_land_together(broker: EmbeddedBroker, changelog: MakeChangelog) -> None:
    async def run() -> list[int]:
        log = changelog(broker)
        landed: list[int] = []
        await log.take({0, 1})
        for _ in range(2):
            log.send(0, row(b"a"))
            log.send_one(0, b"control", b"{}", landed.append)
            log.send(1, row(b"b"))
            await log.settled()
        await log.settled()  # nothing to do
        return landed

    landed = asyncio.run(run())
    assert keys(broker, 0) == [b"a", b"control"] * 2
    assert keys(broker, 1) == [b"b"] * 2
    assert len(landed) == 2
    assert 0 < landed[0] < landed[1]


def test_a_worker_that_stood_still_cannot_write_after_another_one_has_taken_the_partition(
    kafka: KafkaServer, changelog: MakeChangelog
) -> None:
    async def run() -> None:
        sleeper, successor = changelog(kafka), changelog(kafka)
        await sleeper.take({0, 1})
        sleeper.send(0, row(b"old"))
        await sleeper.settled()
        await successor.take({0})
        successor.send(0, row(b"new"))
        await successor.settled()
        sleeper.send(1, row(b"its own still"))
        await sleeper.settled()
        sleeper.send(0, row(b"older"))
        with pytest.raises(Fatal, match="another worker has taken customers-changelog"):
            await sleeper.settled()
        successor.send(0, row(b"newest"))
        await successor.settled()

    asyncio.run(run())
    assert keys(kafka, 0) == [b"old", b"new", b"newest"]
    assert keys(kafka, 1) == [b"its own still"]


def test_rows_in_hand_of_one_that_stood_still_are_rolled_back(
    kafka: KafkaServer, changelog: MakeChangelog
) -> None:
    """They were sent, and neither committed nor seen when the partition was taken."""

    async def run() -> None:
        sleeper, successor = changelog(kafka), changelog(kafka)
        await sleeper.take({0})
        sleeper.send(0, row(b"half"))
        while sleeper.pending:
            await asyncio.sleep(0.01)
        await successor.take({0})
        assert keys(kafka, 0) == []
        with pytest.raises(Fatal, match="another worker has taken"):
            await sleeper.settled()
        successor.send(0, row(b"new"))
        await successor.settled()

    asyncio.run(run())
    assert keys(kafka, 0) == [b"new"]


def test_a_partition_that_is_not_held_is_not_written(
    broker: EmbeddedBroker, changelog: MakeChangelog
) -> None:
    async def run() -> None:
        log = changelog(broker)
        await log.take({0})
        log.drop(0)
        with pytest.raises(Fatal, match="is not held by this worker"):
            log.send(0, row(b"a"))

    asyncio.run(run())


def test_batches_of_rows_and_records_land_in_order(kafka: KafkaServer, changelog: MakeChangelog) -> None:
    async def run() -> list[int]:
        log = changelog(kafka)
        landed: list[int] = []
        await log.take({0})
        for turn in range(3):
            log.send(0, row(b"layout"))
            for number in range(20):
                await log.send_rows(0, RowBatch(one_record(b"%d.%02d" % (turn, number)), 1))
            log.send_one(0, b"control", b"{}", landed.append)
            await log.settled()
        return landed

    landed = asyncio.run(run())
    expected = [[b"layout", *(b"%d.%02d" % (turn, n) for n in range(20)), b"control"] for turn in range(3)]
    assert keys(kafka, 0) == [key for turn in expected for key in turn]
    assert landed == [21, 44, 67]  # after each turn the mark of its transaction


def test_a_record_larger_than_the_broker_takes_is_refused(
    kafka: KafkaServer, changelog: MakeChangelog
) -> None:
    async def run() -> None:
        log = changelog(kafka)
        await log.take({0})
        log.send(0, [*row(b"small"), {"key": b"a", "value": bytes(2_000_000)}])
        with pytest.raises(
            Fatal, match=r"customers-changelog\[0\] could not be written: .*MessageSizeTooLarge"
        ):
            await log.settled()

    asyncio.run(run())
    assert keys(kafka, 0) == []


def one_record(key: bytes) -> bytes:
    """A record without a value, as `streams.state.row_batch.write_records` begins one."""
    body = bytes([0, 0, 0, 2 * len(key)]) + key + bytes([1, 0])
    return bytes([2 * len(body)]) + body
