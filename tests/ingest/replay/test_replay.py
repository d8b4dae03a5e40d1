"""A replay keeps its pace and its bounds, stops cleanly, and goes on without losing or repeating an event."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer
from rich.console import Console

from agents.processes.signals import stop_on_signals
from ingest.replay import run as engine
from ingest.replay.pace import Pace, parse_speed
from ingest.replay.progress_bar import progress_bar
from ingest.replay.run import Progress, replay
from streams.errors import ConfigError, Fatal

DAY_MS = 86_400_000
BEGIN_MS = 1_483_228_800_000


def test_every_event_arrives_once_keyed_and_in_order(broker: Any, numbered: Any) -> None:
    summary = replay(numbered(5000, dead=3), broker.bootstrap)
    assert (summary.events, summary.dead_letters, summary.complete) == (5000, 3, True)
    assert broker.numbers() == list(range(5000))
    of_customer = defaultdict(list)
    partitions = defaultdict(set)
    for topic, partition, key, value in broker.values("web.events", "sales.events"):
        of_customer[topic, key].append(int(value))
        partitions[key].add(partition)
    assert all(numbers == sorted(numbers) for numbers in of_customer.values())
    assert all(len(found) == 1 for found in partitions.values())  # one partition number over the topics
    assert set().union(*partitions.values()) == {0, 1, 2, 3}


def test_the_partition_is_that_of_kafkas_own_clients(broker: Any, numbered: Any) -> None:
    # murmur2 of "customer-7" as Java's DefaultPartitioner has it, over 4 partitions
    replay(numbered(50), broker.bootstrap)
    found = {key: partition for _, partition, key, _ in broker.values("sales.events", "web.events")}
    assert found[b"customer-7"] == (_murmur2(b"customer-7") & 0x7FFFFFFF) % 4
    assert all(partition == (_murmur2(key) & 0x7FFFFFFF) % 4 for key, partition in found.items())


def test_pace(broker: Any, numbered: Any) -> None:
    source = numbered(48 * 3 + 1)  # six days, an hour apart
    began_s = time.monotonic()
    replay(source, broker.bootstrap, speed=parse_speed("6d/s"))
    assert 0.9 < time.monotonic() - began_s < 5


def test_pace_starts_with_the_time_the_source_gives() -> None:
    now_s = 100.0
    pace = Pace(86_400, BEGIN_MS, lambda: now_s)
    assert pace.horizon_ms("offer.outcomes", BEGIN_MS - 40 * DAY_MS) == BEGIN_MS - 40 * DAY_MS
    assert pace.horizon_ms("dead-letters", 0) == 0
    assert pace.horizon_ms("sales.events", BEGIN_MS + 5) == BEGIN_MS + 5
    now_s += 2
    assert pace.horizon_ms("sales.events", BEGIN_MS + 9) == BEGIN_MS + 5 + 2 * DAY_MS


@pytest.mark.parametrize(
    ("text", "speed"), [("1d/s", 86_400), ("12h/s", 43_200), (" 0.5w/s", 302_400), ("1s/s", 1)]
)
def test_speed(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["", "1d", "d/s", "0d/s", "1y/s", "-1d/s", "fast"])
def test_a_wrong_speed_says_what_is_expected(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--speed: expected .* such as 1d/s"):
        parse_speed(text)


def test_back_pressure_keeps_within_the_bound_of_a_slow_consumer(broker: Any, numbered: Any) -> None:
    consumer = broker.consumer("sales.events", "web.events")
    source = numbered(3000)
    read = 0
    most = 0

    def lag() -> int:
        nonlocal read, most
        most = max(most, len(source.yielded) - read)
        read += len(consumer.consume(50, timeout=0.02))
        return len(source.yielded) - 1 - read  # the loop holds one event in its hand

    summary = replay(source, broker.bootstrap, lag=lag, max_ahead=200)
    consumer.close()
    assert summary.complete
    assert 100 < most <= 201


def test_with_an_unknown_lag_it_waits_at_the_bound(broker: Any, numbered: Any) -> None:
    stop = threading.Event()
    known: list[int | None] = [None]
    seen: list[Progress] = []

    def tell(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            assert progress.events == 500
            known[0] = 0  # the consumer has come and read everything

    summary = replay(
        numbered(2000), broker.bootstrap, lag=lambda: known[0], max_ahead=500, on_progress=tell, stop=stop
    )
    assert summary.events == 2000


def test_stop_and_go_on(broker: Any, numbered: Any, tmp_path: Path) -> None:
    stop = threading.Event()

    def tell(progress: Progress) -> None:
        if progress.events > 0:
            stop.set()

    first = replay(
        numbered(3000), broker.bootstrap, speed=30 * 86_400, state_dir=tmp_path, on_progress=tell, stop=stop
    )
    assert 0 < first.events < 3000
    assert not first.complete
    assert broker.numbers() == list(range(first.events))  # what was sent is flushed
    second = replay(numbered(3000), broker.bootstrap, state_dir=tmp_path)
    assert (second.start, second.position, second.complete) == (first.position, 3000, True)
    assert broker.numbers() == list(range(3000))
    third = replay(numbered(3000), broker.bootstrap, state_dir=tmp_path)
    assert (third.events, third.complete) == (0, True)
    again = replay(numbered(3000), broker.bootstrap, state_dir=tmp_path, resume=False)
    assert again.events == 3000


def test_limit_and_until(broker: Any, numbered: Any, tmp_path: Path) -> None:
    first = replay(numbered(100), broker.bootstrap, state_dir=tmp_path, limit=10)
    assert (first.events, first.complete) == (10, False)
    second = replay(numbered(100), broker.bootstrap, state_dir=tmp_path, until_ms=BEGIN_MS + DAY_MS)
    assert (second.start, second.position) == (10, 24)
    rest = replay(numbered(100), broker.bootstrap, state_dir=tmp_path, limit=76)
    assert (rest.position, rest.complete) == (100, True)
    assert broker.numbers() == list(range(100))


def test_sigterm_stops_the_replay_and_the_old_handler_comes_back(broker: Any, numbered: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def tell(progress: Progress) -> None:
        if progress.events > 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_on_signals() as stop:
        summary = replay(numbered(5000), broker.bootstrap, speed=86_400, on_progress=tell, stop=stop)
    assert 0 < summary.events < 5000
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_local_queue_is_waited_for(
    broker: Any, numbered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine._SETTINGS, "queue.buffering.max.messages", 10)
    assert replay(numbered(500), broker.bootstrap).events == 500
    assert broker.numbers() == list(range(500))


def test_no_broker_is_one_line_with_the_address(numbered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_METADATA_TIMEOUT_S", 0.3)
    with pytest.raises(
        Fatal, match=r"^no Kafka broker answers at 127\.0\.0\.1:9; start one with: make kafka$"
    ):
        replay(numbered(1), "127.0.0.1:9")


def test_a_missing_topic_is_named(broker: Any, numbered: Any) -> None:
    with pytest.raises(
        Fatal, match=r"topic elsewhere does not exist; make the topics with: streamwise topics$"
    ):
        replay(numbered(1, topics=("elsewhere",)), broker.bootstrap)


def test_a_delivery_that_fails_ends_the_replay_with_one_line(
    broker: Any, numbered: Any, tmp_path: Path
) -> None:
    class TooLarge:
        name, topics, begins_ms, total, fingerprint = "large", ("web.events",), None, 1, "f"

        def events(self, start: int = 0) -> Iterator[tuple[str, bytes, int, bytes]]:
            yield "web.events", b"k", BEGIN_MS, bytes(2_000_000)

    with pytest.raises(Fatal, match="Message size too large") as caught:
        replay(TooLarge(), broker.bootstrap, state_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_an_error_reported_later_ends_it_too(
    broker: Any, numbered: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Failing:
        """A producer that reports its 150th event as not delivered."""

        def __init__(self, settings: dict[str, Any], **more: Any) -> None:
            self.real = Producer(settings, **more)
            self.report: Callable[..., None] = settings["on_delivery"]
            self.count = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def produce(self, topic: str, value: bytes, key: bytes) -> None:
            self.count += 1
            self.real.produce(topic, value, key)
            if self.count == 150:
                self.report(KafkaError(KafkaError._MSG_TIMED_OUT), _Named(topic))

    monkeypatch.setattr(engine, "Producer", Failing)
    with pytest.raises(Fatal, match=r"sales\.events: an event was not delivered: .*; the next run goes on"):
        replay(numbered(500), broker.bootstrap, state_dir=tmp_path)


def test_progress_counts(broker: Any, numbered: Any) -> None:
    seen: list[Progress] = []
    replay(numbered(300, dead=2), broker.bootstrap, on_progress=seen.append)
    last = seen[-1]
    assert (last.position, last.total, last.events, last.dead_letters) == (300, 300, 300, 2)
    assert last.time_ms == BEGIN_MS + 299 * 3_600_000
    assert last.events_per_s > 0


def test_the_bar_shows_events_rate_and_date() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with progress_bar("numbered", console) as tell:
        tell(Progress(120, 300, 120, 0, 1234.5, BEGIN_MS + 9 * DAY_MS, None))
    text = out.getvalue()
    assert "120/300" in text
    assert "1,23" in text
    assert "2017-01-10" in text


class _Named:
    def __init__(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        return self._topic


def _murmur2(data: bytes) -> int:
    """Kafka's murmur2 (org.apache.kafka.common.utils.Utils), in 32-bit arithmetic."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
