"""The one corner that reaches into aiokafka's privates: this fails when what it relies on changes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiokafka.consumer.fetcher as fetcher
import faust
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import _MemoryRecordsPy
from confluent_kafka import Producer
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP

from streams.batches.decode_ahead import DecodeAhead
from streams.batches.record_batch import RawBatch, open_batch
from streams.engine.engine import Engine
from streams.errors import Fatal, Poison
from streams.kafka.embedded_broker import EmbeddedBroker
from streams.transport.app import make_app
from streams.transport.consumer import Consumer
from streams.transport.consumer_thread import (
    ASIDE_BYTES,
    ASIDE_PACE_S,
    FETCH_MAX_WAIT_MS,
    IDLE_FETCH_MAX_WAIT_MS,
    ConsumerThread,
    NotifyingRecords,
)
from streams.transport.raw_records import SCHEME, RawPartitionRecords, install
from tests.reference import batches
from tests.reference.record import Record

AT = TopicPartition("web.events", 3)
READ_COMMITTED = 1
QUIET = logging.getLogger("tests.transport.librdkafka")
QUIET.addHandler(logging.NullHandler())


def records(first: int, count: int = 3) -> list[Record]:
    return [
        Record("web.events", 3, first + n, b"k%d" % n, bytes(50) + b"v%d" % n, 1000 + n) for n in range(count)
    ]


def fetched(
    buffer: bytes, *, aborted: list[tuple[int, int]] | None = None, offset: int = 0
) -> RawPartitionRecords:
    """What aiokafka makes of a fetch response's record set."""
    return RawPartitionRecords(
        AT, _MemoryRecordsPy(buffer), aborted, offset, None, None, True, READ_COMMITTED
    )


def opened(buffer: bytes, **given: Any) -> list[RawBatch]:
    found = list(fetched(buffer, **given))
    for batch in found:
        open_batch(batch)
    return found


def spans(found: list[RawBatch]) -> list[tuple[int, int, int]]:
    return [(batch.base_offset, batch.count, batch.next_offset) for batch in found]


# -- what a fetch holds


def test_batches_of_every_codec_in_one_fetch() -> None:
    buffer = b"".join(batches.batch(records(10 * n), codec) for n, codec in enumerate(batches.CODECS))
    found = opened(buffer)
    assert spans(found) == [(10 * n, 3, 10 * n + 3) for n in range(len(batches.CODECS))]
    plain = b"".join(batches.encode_record(r, 0, 1000) for r in records(0))
    assert {batch.buf.tobytes() for batch in found} == {plain}
    assert {batch.append_time_ms for batch in found} == {1002}
    assert [batch.offset for batch in found] == [10 * n + 2 for n in range(len(batches.CODECS))]


def test_offsets_move_over_what_compaction_left_and_over_control_batches() -> None:
    buffer = b"".join(
        [
            batches.batch([], base_offset=0, last_offset=4),
            batches.batch(records(6, 1), base_offset=5, last_offset=9),
            batches.control_batch(10, 7, commit=True),
            batches.batch(records(11)),
        ]
    )
    reader = fetched(buffer)
    found = list(reader)
    for batch in found:
        open_batch(batch)
    assert spans(found) == [(0, 0, 5), (5, 1, 10), (10, 0, 11), (11, 3, 14)]
    assert reader.next_fetch_offset == 14


def test_a_seek_into_a_batch_wants_the_rest_of_it() -> None:
    found = opened(batches.batch(records(0, 5)) + batches.batch(records(5)), offset=3)
    assert [batch.first for batch in found] == [3, 5]


def test_aborted_transactions_are_left_out_and_committed_ones_are_not() -> None:
    def part(first: int, producer: int, codec: str = "lz4") -> bytes:
        return batches.batch(records(first), codec, attributes=batches.TRANSACTIONAL, producer_id=producer)

    buffer = b"".join(
        [
            part(0, 7),  # aborted
            part(3, 8),  # committed, between them
            batches.batch(records(6)),  # no transaction
            part(9, 7),  # aborted
            batches.control_batch(12, 7, commit=False),
            part(13, 7),  # the same producer's next transaction: committed
            batches.control_batch(16, 7, commit=True),
            batches.control_batch(17, 8, commit=True),
            part(18, 7, "zstd"),  # and one more that is aborted
            batches.control_batch(21, 7, commit=False),
        ]
    )
    found = opened(buffer, aborted=[(7, 18), (7, 0)])
    assert spans(found) == [
        (0, 0, 3), (3, 3, 6), (6, 3, 9), (9, 0, 12), (12, 0, 13), (13, 3, 16), (16, 0, 17), (17, 0, 18), (18, 0, 21),
        (21, 0, 22),
    ]  # fmt: skip


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_message_formats_before_v2_are_refused_by_name(magic: int, codec: str) -> None:
    with pytest.raises(Fatal, match=rf"message format v{magic}.*log\.message\.format\.version"):
        list(fetched(batches.message_set(records(0), codec, magic=magic)))


def test_a_wrong_checksum_is_refused_and_nothing_of_the_fetch_is_handed_over() -> None:
    good, bad = (next(fetched(batches.batch(records(0), wrong_crc=wrong))) for wrong in (False, True))
    with pytest.raises(Poison, match="does not match its checksum"):
        open_batch(bad)
    bad = next(fetched(batches.batch(records(0), wrong_crc=True)))
    thread: Any = object.__new__(ConsumerThread)
    thread._consumer = None
    thread.app = SimpleNamespace(bundled=frozenset(), conf=SimpleNamespace(broker_check_crcs=True))

    async def drained(*_: Any) -> Any:
        return {TP(*AT): [good, bad]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", drained)
        with pytest.raises(CorruptRecordException, match=r"web\.events\[3\]@0: .*checksum"):
            asyncio.run(thread._fetch_records(None, {TP(*AT)}))


def test_batches_of_bundled_topics_are_offered_closed_as_they_arrive() -> None:
    offered: list[RawBatch] = []
    thread: Any = object.__new__(ConsumerThread)
    thread._consumer = None
    thread.app = SimpleNamespace(
        bundled=frozenset({AT[0]}), fetched=lambda topic, batch: offered.append(batch), conf=None
    )
    arrivals = NotifyingRecords(thread._arrived)
    held = fetched(batches.batch(records(0)) + batches.batch(records(3)))
    other = TopicPartition("changelog", 0)
    assignment = SimpleNamespace(state_value=lambda tp: SimpleNamespace(highwater=6))
    for tp, read in ((AT, held), (other, fetched(batches.batch(records(0))))):
        arrivals[tp] = fetcher.FetchResult(tp, assignment=assignment, partition_records=read, backoff=0)
    arrivals[TopicPartition(AT[0], 9)] = fetcher.FetchError(error=ValueError(), backoff=0)
    assert list(arrivals)[:2] == [AT, other]
    assert offered == held.batches
    assert [batch.closed is not None for batch in offered] == [True, True]
    assert list(held) == offered  # the pass is given the same ones


@pytest.mark.parametrize("claimed", [0, 1])
def test_a_batch_that_claims_more_offsets_than_records_behind_the_log_is_refused_as_it_arrives(
    claimed: int,
) -> None:
    """What was appended while the broker read for the fetch lies behind the end that it tells, too."""
    thread: Any = object.__new__(ConsumerThread)
    thread.app = SimpleNamespace(bundled=frozenset(), conf=None)
    held = fetched(batches.batch(records(0)) + batches.batch(records(3), last_offset=5 + claimed))
    assignment = SimpleNamespace(state_value=lambda tp: SimpleNamespace(highwater=5))
    arrivals = NotifyingRecords(thread._arrived)
    arrivals[AT] = fetcher.FetchResult(AT, assignment=assignment, partition_records=held, backoff=0)
    assert spans([next(held)]) == [(0, 0, 3)]
    if not claimed:
        assert spans([next(held)]) == [(3, 0, 6)]
        return
    with pytest.raises(Poison, match=r"web\.events\[3\]@3: .*the log ends at 5"):
        next(held)


def test_a_wrong_checksum_is_left_to_the_pass_by_the_thread_ahead_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.batches.decode_ahead.LARGE_BYTES", 0)
    tried = threading.Event()
    (bad,) = fetched(batches.batch(records(0), wrong_crc=True))
    engine = Engine([AT[0]], SimpleNamespace(largest_output_bytes=1), SimpleNamespace())  # type: ignore[arg-type]

    def prepare(topic: str, batch: RawBatch) -> None:
        try:
            engine.prepare(topic, batch)
        finally:
            tried.set()

    DecodeAhead(prepare).give(AT[0], bad)
    assert tried.wait(10)
    with pytest.raises(Poison, match="does not match its checksum"):
        engine.prepare(AT[0], bad)


def test_a_thread_that_is_behind_is_given_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one whose work fails in a way that nobody foresaw goes on."""
    monkeypatch.setattr("streams.batches.decode_ahead.LARGE_BYTES", 0)
    monkeypatch.setattr("streams.batches.decode_ahead.WAITING", 3)
    go_on, seen, done = threading.Event(), [], threading.Event()

    def prepare(topic: str, batch: RawBatch) -> None:
        go_on.wait(10)
        seen.append(batch)
        if len(seen) == 4:
            done.set()
        raise MemoryError

    ahead = DecodeAhead(prepare)
    given = list(fetched(b"".join(batches.batch(records(3 * n)) for n in range(20))))
    ahead.give(AT[0], given[0])
    while not ahead._queue.empty():  # it has the first in hand
        pass
    for batch in given[1:]:
        ahead.give(AT[0], batch)
    go_on.set()
    assert done.wait(10)
    assert seen == given[:4]


def test_when_enough_lies_decoded_of_every_partition_nothing_is_fetched() -> None:
    """aiokafka would take an empty set for all of them."""
    consumer: Any = object.__new__(Consumer)
    asked: list[Any] = []
    full = {TP("a", 0)}
    consumer.app = SimpleNamespace(backlog=full.__contains__)

    async def getmany(self: Any, partitions: Any, timeout: float) -> Any:
        asked.append(partitions)
        return {"some": []}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver.Consumer, "_getmany", getmany)
        assert asyncio.run(consumer._getmany({TP("a", 0)}, 1.0)) == {}
        assert asyncio.run(consumer._getmany({TP("a", 0), TP("b", 0)}, 1.0)) == {"some": []}
    assert asked == [{TP("b", 0)}]


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: body[:-9],
    "snappy": lambda body: body[:-2],
    "snappy-raw": lambda body: b"\xff" * len(body),
    "lz4": lambda body: body[: len(body) // 2],
    "zstd": lambda body: b"\0" + body[1:],
    "none": lambda body: body[:1],
}


@pytest.mark.parametrize("codec", SPOILT)
def test_a_body_that_does_not_decompress_is_an_error_of_its_batch_and_the_next_one_goes_on(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "compress", lambda body, name: SPOILT[codec](COMPRESS(body, name)))
    bad = batches.batch(records(0), codec)
    monkeypatch.undo()
    found = opened(bad + batches.batch(records(3), codec))
    assert spans(found)[1] == (3, 3, 6)
    if codec == "none":  # nothing is compressed: the records themselves are cut short
        assert (found[0].count, "claims 3 records" in found[0].error) == (0, True)
    else:
        assert (found[0].count, found[0].next_offset) == (0, 3)
        assert "does not decompress" in found[0].error


COMPRESS = batches.compress


@pytest.mark.parametrize("cut", range(1, 40))
def test_javas_snappy_frames_cut_anywhere(cut: int) -> None:
    body = COMPRESS(bytes(100), "snappy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "compress", lambda *_: body[: max(8, len(body) - cut)])
        (batch,) = opened(batches.batch(records(0), "snappy"))
    assert (batch.count, bool(batch.error)) == (0, True)


def test_an_unknown_codec_is_an_error_of_its_batch() -> None:
    (batch,) = opened(batches.batch(records(0), attributes=5))
    assert "codec 5" in batch.error


@pytest.mark.parametrize("count", [-1, 4, 10_000, 2**31 - 1])
def test_a_batch_that_claims_more_records_than_it_can_hold_reserves_nothing(count: int) -> None:
    short = [Record("t", 0, n, b"", b"", 0) for n in range(3)]
    (batch,) = opened(batches.batch(short, count=count))
    assert batch.error == f"the batch claims {count} records in 21 bytes"


# -- aiokafka and Faust


def test_aiokafkas_reader_is_what_ours_stands_on() -> None:
    names = list(inspect.signature(RawPartitionRecords.__base__.__init__).parameters)
    assert names == [
        "self", "tp", "records", "aborted_transactions", "fetch_offset", "key_deserializer", "value_deserializer",
        "check_crcs", "isolation_level",
    ]  # fmt: skip
    assert fetcher.READ_COMMITTED == READ_COMMITTED
    memory = _MemoryRecordsPy(batches.batch(records(0)) + batches.batch(records(3)))
    assert bytes(memory._next_slice) == batches.batch(records(0))
    memory._cache_next()
    assert bytes(memory._next_slice) == batches.batch(records(3))
    for name in ("_create_worker_consumer", "_fetch_records", "_ensure_consumer", "on_start"):
        assert callable(getattr(driver.AIOKafkaConsumerThread, name))
    for name in ("force_commit", "_commit", "_add_gap", "_getmany", "_wait_next_records", "perform_seek"):
        assert callable(getattr(driver.Consumer, name))


@pytest.fixture
def installed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
        patch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
        install()
        yield


@pytest.mark.usefixtures("installed")
def test_installed() -> None:
    assert fetcher.PartitionRecords is RawPartitionRecords
    assert fetcher.MemoryRecords is _MemoryRecordsPy
    assert faust.transport.by_url(f"{SCHEME}://x").Consumer.__module__ == "streams.transport.consumer"


@pytest.mark.usefixtures("installed")
def test_a_consumer_yields_raw_batches_of_every_codec_from_a_broker() -> None:
    with EmbeddedBroker() as broker:
        broker.make_topics(["t"])
        sent = []
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            producer = Producer(
                {
                    "bootstrap.servers": broker.bootstrap,
                    "compression.type": codec,
                    "linger.ms": 50,
                    "log_level": 0,
                },
                logger=QUIET,
            )
            for n in range(20):
                sent.append((f"{codec} {n}".encode(), bytes(30)))
                producer.produce("t", key=sent[-1][0], value=sent[-1][1], partition=0)
            assert producer.flush(10) == 0
        assert asyncio.run(_read(broker.bootstrap, len(sent))) == sent


async def _read(bootstrap: str, count: int) -> list[tuple[bytes, bytes]]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        # what streams.transport.consumer sets or asks for by these names
        for name in ("_fetch_max_wait_ms", "_isolation_level"):
            assert hasattr(consumer, name)
        assert hasattr(consumer._fetcher, "_prefetch_backoff")
        assert FETCH_MAX_WAIT_MS > 0
        at = TopicPartition("t", 0)
        consumer.assign([at])
        found: list[tuple[bytes, bytes]] = []
        while len(found) < count:
            for batch in (await consumer.getmany(at, timeout_ms=1000)).get(at, []):
                assert isinstance(batch, RawBatch)
                open_batch(batch)
                found += _decoded(batch)
        state = consumer._subscription.subscription.assignment.state_value(at)
        assert state.lso == state.highwater == count
        assert await consumer.position(at) == count
        return found
    finally:
        await consumer.stop()


def _decoded(batch: RawBatch) -> list[tuple[bytes, bytes]]:
    from tests.streams.batches.test_find_records import located

    found = located(batch.buf.tobytes(), batch.count, batch.base_offset, batch.first)
    assert found is not None
    return [(key, value) for _, key, value in found]


@pytest.mark.parametrize(
    ("sales_ms", "wait_ms", "held", "drained"),
    [
        (5_000, 10, [], [0, 1]),  # told by the same fetch
        (4_500, 10, [], [0, 1]),
        (3_500, 10, [], [1]),
        (3_500, 1_000, [], [0, 1]),  # another broker's fetch still waits for its first record
        (1_000, 1_000, [], [1]),  # refused since the broker is back
        (None, 1_000, [], [1]),  # not fetched yet
        (1_000, 10, [TopicPartition("sales.events", 0)], [0, 1]),  # it lies here and is not fetched again
    ],
)
def test_a_partition_number_waits_for_the_topic_that_was_not_told_lately(
    sales_ms: int | None, wait_ms: int, held: list[TopicPartition], drained: list[int]
) -> None:
    told: dict[TopicPartition, int | None] = {
        TopicPartition(topic, number): 5_000 for topic in ("web.events", "sales.events") for number in (0, 1)
    }
    told[TopicPartition("sales.events", 0)] = sales_ms
    states = {tp: SimpleNamespace(timestamp=ms, lso=7) for tp, ms in told.items()}
    assignment = SimpleNamespace(tps=set(told), state_value=states.get)
    subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    thread: Any = object.__new__(ConsumerThread)
    thread._consumer = SimpleNamespace(
        _subscription=subscription, _fetcher=SimpleNamespace(_records=dict.fromkeys(held))
    )
    thread._crashed = False
    thread._waits_ms = {1: 10, 2: wait_ms}
    thread.app = SimpleNamespace(bundled=frozenset({"web.events", "sales.events"}))
    asked: list[set[TP]] = []

    async def drain(self: Any, consumer: Any, active: set[TP], **_: Any) -> dict[Any, Any]:
        asked.append(active)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", drain)
        changelog = TP("customers-changelog", 0)
        asyncio.run(thread._fetch_records(None, {changelog, *(TP(*tp) for tp in told)}, timeout=1.0))
    assert changelog in asked[0]
    assert sorted({tp.partition for tp in asked[0] - {changelog}}) == drained


class Sought:
    """aiokafka's consumer with one partition at `position`; `sought` is where it is told to go on."""

    def __init__(self, position: int | None) -> None:
        state = SimpleNamespace(has_valid_position=position is not None, position=position)
        assignment = SimpleNamespace(state_value={AT: state}.get)
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        self.sought: list[int] = []

    def seek(self, tp: TopicPartition, offset: int) -> None:
        assert tp == AT
        self.sought.append(offset)


@pytest.mark.parametrize(("position", "sought"), [(6, [0]), (2, []), (None, [])])
def test_what_was_drained_and_dropped_is_drained_again_unless_someone_sought(
    position: int | None, sought: list[int]
) -> None:
    thread: Any = object.__new__(ConsumerThread)
    thread._consumer, thread._crashed = Sought(position), False
    drained = list(fetched(batches.batch(records(0)) + batches.batch(records(3))))
    asyncio.run(thread.put_back({TP(*AT): drained, TP("another", 0): drained}))
    assert thread._consumer.sought == sought


def test_the_leader_assigns_when_all_topics_are_known() -> None:
    known: set[str] = set()
    assigned: list[set[str]] = []

    async def update() -> None:
        known.add("web.events" if known else "sales.events")

    async def assign(response: object) -> None:
        assigned.append(set(known))

    thread: Any = object.__new__(ConsumerThread)
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: {0} if topic in known else None)
    group = SimpleNamespace(
        _cluster=cluster,
        _client=SimpleNamespace(force_metadata_update=update),
        _subscription=SimpleNamespace(topics={"web.events", "sales.events"}),
    )
    thread._consumer, thread._crashed, thread._assign = SimpleNamespace(_coordinator=group), False, assign
    asyncio.run(thread._assign_known(object()))
    assert assigned == [{"web.events", "sales.events"}]


# -- a role's app


def test_messages_come_while_a_commit_is_under_way_however_many_came_before(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.make_topics(["t"])
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0}, logger=QUIET)

        def produce() -> None:
            producer.produce("t", key=b"k", value=b"v", partition=0)
            assert producer.flush(10) == 0

        asyncio.run(_take_while_committing(broker.bootstrap, tmp_path, produce))


async def _take_while_committing(bootstrap: str, folder: Path, produce: Callable[[], None]) -> None:
    app = make_app("role", bootstrap, partitions=1, commit_interval_s=0.1, datadir=str(folder))
    under_way, ends, came = asyncio.Event(), asyncio.Event(), asyncio.Semaphore(0)

    async def commit(consumer: Consumer) -> bool:
        under_way.set()
        await ends.wait()
        return True

    @app.agent(app.topic("t", key_serializer="raw", value_serializer="raw"))
    async def take(stream: Any) -> None:
        async for _ in stream:
            came.release()

    await app.start()
    try:
        produce()
        await asyncio.wait_for(came.acquire(), 30)
        app.committer = commit
        await asyncio.wait_for(under_way.wait(), 30)
        app.consumer._n_acked = 1 << 40
        for _ in range(2):
            produce()
            await asyncio.wait_for(came.acquire(), 10)
    finally:
        ends.set()
        await app.stop()


# -- how long a fetch may wait for its first record


def waiting() -> tuple[ConsumerThread, Callable[[Any, float], int], dict[Any, Any]]:
    """A thread, what it asks the broker for, by the assignment and the time, and what it holds."""
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.app = SimpleNamespace(bundled={"web.events"})
    own = SimpleNamespace(_records={}, _fetch_max_wait_ms=0)
    thread._ensure_consumer = lambda: SimpleNamespace(_fetcher=own)
    asked = []

    def actions(assignment: Any) -> Any:
        asked.append(own._fetch_max_wait_ms)
        return [(7, FetchRequest(10, 1, 1 << 20, READ_COMMITTED, []))], {}, 0.2, False, []

    thread._actions = actions

    def ask(assignment: Any, now_s: float) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("streams.transport.consumer_thread.time.monotonic", lambda: now_s)
            thread._paced_actions(assignment)
        return int(asked[-1])

    return thread, ask, own._records


def test_the_longer_nothing_comes_the_longer_a_fetch_waits_for_it() -> None:
    thread, ask, _ = waiting()
    assignment = object()
    idle_s = (0.0, 0.1, 1.0, 5.0, 60.0)
    assert [ask(assignment, 100.0 + each) for each in idle_s] == [10, 10, 50, 250, 1000]
    assert thread._waits_ms == {7: IDLE_FETCH_MAX_WAIT_MS}


def test_a_fetch_is_short_again_once_something_came_or_waits_or_partitions_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread, ask, held = waiting()
    first, second = object(), object()
    ask(first, 100.0)
    assert ask(first, 160.0) == IDLE_FETCH_MAX_WAIT_MS
    monkeypatch.setattr("streams.transport.consumer_thread.time.monotonic", lambda: 160.0)
    thread._arrived(AT, object())
    assert ask(first, 160.1) == FETCH_MAX_WAIT_MS
    assert ask(first, 220.0) == IDLE_FETCH_MAX_WAIT_MS
    held[AT] = "not asked for yet, so it is in no fetch"
    assert ask(first, 220.1) == FETCH_MAX_WAIT_MS
    held.clear()
    assert ask(first, 220.2) == FETCH_MAX_WAIT_MS
    assert ask(first, 280.0) == IDLE_FETCH_MAX_WAIT_MS
    assert ask(second, 280.1) == FETCH_MAX_WAIT_MS


# -- what gives way


def test_rows_that_a_standby_follows_give_way_to_events() -> None:
    def request() -> FetchRequest:
        topics = [("web.events", [(0, 7, 2 << 20)]), ("customers-changelog", [(1, 9, 2 << 20)])]
        return FetchRequest(10, 1, 1 << 20, READ_COMMITTED, topics)

    thread = ConsumerThread.__new__(ConsumerThread)
    thread.app = SimpleNamespace(bundled={"web.events"})
    asked = []
    for now_s in (100.0, 100.0 + ASIDE_PACE_S / 2, 100.0 + ASIDE_PACE_S):
        one = request()
        thread._put_aside(one, now_s)
        asked.append(dict(one.topics))
    assert all(topics["web.events"] == [(0, 7, 2 << 20)] for topics in asked)
    assert [topics.get("customers-changelog") for topics in asked] == [
        [(1, 9, ASIDE_BYTES)],
        None,
        [(1, 9, ASIDE_BYTES)],
    ]


def test_rows_alone_are_asked_for_in_small_pieces_at_once() -> None:
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.app = SimpleNamespace(bundled={"web.events"})
    for now_s in (100.0, 100.0):
        one = FetchRequest(10, 1, 1 << 20, READ_COMMITTED, [("customers-changelog", [(1, 9, 2 << 20)])])
        thread._put_aside(one, now_s)
        assert dict(one.topics) == {"customers-changelog": [(1, 9, ASIDE_BYTES)]}
