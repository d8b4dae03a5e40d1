"""A topic is read to its end: all of it once, in order, or an error that says that it is not all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from bench.servers import KafkaServer
from schemas.topics import LAYOUTS, MODELS
from streams.errors import Retryable
from streams.kafka import topic_reader
from streams.kafka.topic_admin import TopicSpec, ensure
from streams.kafka.topic_reader import Record, read_to_end
from tests.bench.servers.test_servers import needs

TIMEOUT_S = 5.0


def read(bootstrap: str, topic: str, **how: Any) -> list[Record]:
    return list(read_to_end(bootstrap, topic, group="test", timeout_s=TIMEOUT_S, **how))


# -- a broker -------------------------------------------------------------------------------------------


def test_all_partitions_are_read_each_in_its_order(broker: Any) -> None:
    for number in (0, 2):
        broker.send(MODELS, [b"%d" % place for place in range(1500)], partition=number)
    found = read(broker.bootstrap, MODELS)
    for number in (0, 2):
        mine = [record for record in found if record.partition == number]
        assert [record.offset for record in mine] == list(range(1500))
        assert mine[7] == Record(number, 7, b"k", b"7")
    assert len(found) == 3000


def test_an_empty_topic_and_a_tombstone(broker: Any) -> None:
    assert read(broker.bootstrap, LAYOUTS) == []
    broker.send(LAYOUTS, [b"x", None], partition=1)
    assert [record.value for record in read(broker.bootstrap, LAYOUTS)] == [b"x", None]


def test_some_partitions_and_their_last_records_only(broker: Any) -> None:
    for number in range(3):
        broker.send(MODELS, [b"%d" % place for place in range(20)], partition=number)
    found = read(broker.bootstrap, MODELS, partitions=[0, 2], last=3)
    assert sorted((record.partition, record.value) for record in found) == [
        (number, b"%d" % place) for number in (0, 2) for place in (17, 18, 19)
    ]
    assert len(read(broker.bootstrap, MODELS, partitions=[1], last=100)) == 20


def test_a_topic_that_is_not_there_is_named(broker: Any) -> None:
    with pytest.raises(Retryable, match="topic nowhere is not there; make it with `streamwise topics`"):
        read(broker.bootstrap, "nowhere")


@pytest.mark.parametrize("how", [{}, {"partitions": [0]}, {"partitions": [0], "last": 5}])
def test_a_broker_that_is_away_is_no_empty_topic(how: dict[str, Any]) -> None:
    with pytest.raises(Retryable, match=r"topic models cannot be read to its end: .*; check the broker"):
        list(read_to_end("127.0.0.1:1", MODELS, group="test", timeout_s=1.0, **how))


# -- transactions, which the embedded broker does not know ---------------------------------------------------


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    needs("java", "mvn")
    with KafkaServer() as server:
        yield server


@pytest.fixture
def begin(kafka: KafkaServer) -> Iterator[Callable[..., Any]]:
    """A producer whose transaction has begun."""
    open_ones = []

    def made(name: str) -> Any:
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": name, "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        open_ones.append(producer)
        return producer

    yield made
    for producer in open_ones:
        try:
            producer.abort_transaction(10)
        except KafkaException:  # it is none any more
            continue


def test_what_is_not_committed_does_not_come(kafka: KafkaServer, begin: Callable[..., Any]) -> None:
    ensure(kafka.bootstrap, {"moves": TopicSpec("moves")}, partitions=1, replication=1)
    first, gone, waits = begin("first"), begin("gone"), begin("open")
    for producer, value in ((first, b"committed"), (gone, b"rolled back"), (waits, b"open")):
        producer.produce("moves", value=value)
        assert producer.flush(10) == 0
    first.commit_transaction(10)
    gone.abort_transaction(10)
    later = Producer({"bootstrap.servers": kafka.bootstrap})
    later.produce("moves", value=b"behind")
    assert later.flush(10) == 0
    assert [record.value for record in read(kafka.bootstrap, "moves")] == [b"committed"]
    waits.commit_transaction(10)
    assert [record.value for record in read(kafka.bootstrap, "moves")] == [b"committed", b"open", b"behind"]


# -- a consumer that says what it is told --------------------------------------------------------------------


class Scripted:
    """Gives these messages, then nothing."""

    def __init__(self, rounds: Sequence[Sequence[Any]]) -> None:
        self.rounds = list(rounds)
        self.closed = False

    def assign(self, places: Any) -> None:
        self.assigned = places

    def consume(self, most: int, wait_s: float) -> Sequence[Any]:
        return self.rounds.pop(0) if self.rounds else []

    def close(self) -> None:
        self.closed = True


def record(offset: int, partition: int = 0) -> Any:
    return SimpleNamespace(
        error=lambda: None, partition=lambda: partition, offset=lambda: offset, key=lambda: b"k", value=lambda: b"v"
    )  # fmt: skip


def trouble(code: int, partition: int | None = 0) -> Any:
    topic = None if partition is None else "t"
    return SimpleNamespace(error=lambda: KafkaError(code), partition=lambda: partition, topic=lambda: topic)


def end(partition: int = 0) -> Any:
    return trouble(KafkaError._PARTITION_EOF, partition)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scripted]:
    """The consumer that is opened next, and a clock that moves a second each time that it is looked at."""

    def made(*rounds: Sequence[Any]) -> Scripted:
        consumer, now = Scripted(rounds), [0.0]

        def clock() -> float:
            now[0] += 1.0
            return now[0]

        monkeypatch.setattr(topic_reader, "Consumer", lambda settings: consumer)
        monkeypatch.setattr(topic_reader, "time", SimpleNamespace(monotonic=clock))
        return consumer

    return made


def offsets(partitions: Sequence[int]) -> list[tuple[int, int]]:
    found = read_to_end("b", "t", group="test", partitions=partitions, timeout_s=TIMEOUT_S)
    return [(each.partition, each.offset) for each in found]


def test_gaps_of_compaction_and_the_end_of_each_partition(scripted: Callable[..., Scripted]) -> None:
    consumer = scripted([record(3), record(90, 1)], [end(1)], [record(71)], [end()])
    assert offsets([0, 1]) == [(0, 3), (1, 90), (0, 71)]
    assert consumer.closed


def test_a_broker_that_comes_back_in_time_is_waited_for(scripted: Callable[..., Scripted]) -> None:
    scripted([record(0)], [trouble(KafkaError._ALL_BROKERS_DOWN, None)], [], [record(1), end()])
    assert offsets([0]) == [(0, 0), (0, 1)]


def test_whoever_gives_something_in_time_may_take_as_long_as_it_needs(
    scripted: Callable[..., Scripted],
) -> None:
    scripted(*[[record(offset)] for offset in range(100)], [end()])
    assert len(offsets([0])) == 100


def test_one_partition_that_gives_nothing_is_not_taken_for_empty(scripted: Callable[..., Scripted]) -> None:
    consumer = scripted([record(0)], [end()])
    with pytest.raises(Retryable, match="topic t cannot be read to its end: it gave nothing for 5 s"):
        offsets([0, 1])
    assert consumer.closed


def test_the_last_trouble_of_a_broker_that_stays_away_is_told(scripted: Callable[..., Scripted]) -> None:
    scripted([trouble(KafkaError._TRANSPORT, None)])
    with pytest.raises(Retryable, match=r"topic t cannot be read to its end: .*[Tt]ransport"):
        offsets([0])


def test_a_partition_that_is_refused_is_told_at_once(scripted: Callable[..., Scripted]) -> None:
    consumer = scripted([record(0), trouble(KafkaError.TOPIC_AUTHORIZATION_FAILED)], [record(1), end()])
    with pytest.raises(Retryable, match=r"topic t cannot be read to its end: .*authorization"):
        offsets([0])
    assert consumer.closed
