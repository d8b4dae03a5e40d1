"""Step 1 for recorded events: sends a source to its topics, paced or as fast as the consumers follow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import ClusterMetadata

from ingest.source import DEAD_LETTERS, EventSource
from streams.errors import Fatal
from streams.kafka import Kafka, librdkafka_settings

from .pace import FOREVER_MS, Pace
from .resume_point import LOGGER, QUEUE_EVENTS, ResumePointStore

_SETTINGS = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 20,
    "partitioner": "murmur2_random",  # Kafka's own default for keys: one customer, one partition number
    "queue.buffering.max.messages": QUEUE_EVENTS,
    "message.timeout.ms": 60_000,  # the replay ends if a broker is away for longer
    "delivery.report.only.error": True,
}
_METADATA_TIMEOUT_S = 10.0
_CHECKPOINT_S = 1.0  # after a kill, the next run reads back about so much of the log
_PROGRESS_S = 0.1
_WAIT_S = 0.005  # between two checks of the lag or the clock while waiting
_BURST = 1000  # events between two checks of stop, clock and lag


@dataclass(frozen=True)
class Progress:
    """Progress of a run. `position` and `total` count from the source's first event, all else in this run."""

    position: int
    total: int | None
    events: int
    dead_letters: int
    events_per_s: float
    time_ms: int  # of the newest event produced
    lag: int | None


@dataclass(frozen=True)
class Summary:
    """Result of a run: `events` (with dead letters), from number `start` up to `position` (exclusive)."""

    events: int
    dead_letters: int
    seconds: float
    start: int
    position: int
    complete: bool  # the source has no more events


def replay(
    source: EventSource,
    bootstrap: Kafka,
    *,
    speed: float | None = None,
    limit: int | None = None,
    until_ms: int | None = None,
    lag: Callable[[], int | None] | None = None,
    max_ahead: int = 20_000,
    state_dir: str | Path | None = None,
    resume: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Produce the events of `source`; returns when all are acknowledged.

    speed: stream seconds a second (see `pace.parse_speed`); None: as fast as the consumers follow.
    limit, until_ms: at most so many events in this run; none at or after that time.
    lag: returns how many appended events the consumers have not read, or None if it does not know; then all
        events of this run count as unread. Back pressure: at most `max_ahead` events are ahead of the consumers.
    state_dir: folder of the resume point; None keeps none. Without `resume` the run starts over.
    stop: ends the run early, after a flush.
    Raises Fatal if there is no broker, a topic is missing, or a delivery failed for good.
    """
    run = _Run(source, bootstrap, Pace(speed, source.begins_ms, clock), on_progress)
    run.lag, run.max_ahead = lag, max(1, max_ahead)
    run.stop = stop or threading.Event()
    try:
        if state_dir is not None:
            run.keep(Path(state_dir), resume)
        run.produce(limit, FOREVER_MS if until_ms is None else until_ms)
    except KafkaException as error:
        raise Fatal(f"{bootstrap}: {error.args[0].str()}") from error
    return run.summary()


class _Run:
    """One replay from its first event to its last acknowledgement."""

    lag: Callable[[], int | None] | None
    max_ahead: int
    stop: threading.Event

    def __init__(
        self,
        source: EventSource,
        bootstrap: Kafka,
        pace: Pace,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.source, self.bootstrap, self.pace, self.on_progress = source, bootstrap, pace, on_progress
        self.clock = pace.clock
        self.failed: str | None = None
        settings = {**_SETTINGS, **librdkafka_settings(bootstrap), "on_delivery": self._report}
        self.producer = Producer(settings, logger=LOGGER)
        self.metadata = _metadata(self.producer, bootstrap, source)
        self.keeper: ResumePointStore | None = None
        self.start = self.events = self.dead_letters = 0
        self.skipped = 0  # those of `events` that a killed run had appended
        self.time_ms = 0
        self.seen_lag: int | None = None
        self.complete = False
        self.began_s = self.checkpoint_s = self.progress_s = self.clock()

    def keep(self, state_dir: Path, resume: bool) -> None:
        """Start from the resume point, if there is one, and keep it up to date from now on."""
        topics = self.metadata.topics
        partitions = [(topic, number) for topic in self.source.topics for number in topics[topic].partitions]
        cluster = str(self.metadata.cluster_id)
        self.keeper = ResumePointStore(state_dir, self.source, self.bootstrap, cluster, partitions, resume)
        self.start = self.keeper.position

    def produce(self, limit: int | None, end_ms: int) -> None:
        """Run the loop. Each burst starts with `_wait`, which keeps pace, bounds and the resume point."""
        keeper = self.keeper
        allowed, horizon_ms = 0, -FOREVER_MS
        events = self.source.events(self.start)
        for topic, key, time_ms, value in events if limit is None else islice(events, limit):
            if time_ms >= end_ms:
                break
            if allowed <= 0 or time_ms > horizon_ms:
                allowed, horizon_ms = self._wait(topic, time_ms)
                if allowed == 0:
                    break
            allowed -= 1
            if keeper is not None and keeper.known and keeper.appended(topic, key, value):
                self.skipped += 1
            else:
                self._send(topic, key, value)
            self.events += 1
            self.time_ms = time_ms
            if topic == DEAD_LETTERS:
                self.dead_letters += 1
        else:
            self.complete = limit is None or next(events, None) is None
        self._checkpoint()
        self._tell()

    def summary(self) -> Summary:
        """Return the result of the run, once all its events are acknowledged."""
        seconds = self.clock() - self.began_s
        position = self.start + self.events
        return Summary(self.events, self.dead_letters, seconds, self.start, position, self.complete)

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        while True:
            try:
                self.producer.produce(topic, value, key)
                return
            except BufferError:  # the local queue is full
                self.producer.poll(_WAIT_S)
                self._raise_failed()

    def _wait(self, topic: str, time_ms: int) -> tuple[int, int]:
        """Wait until the next event may go. Returns how many may go and up to which time (ms); (0, 0) to stop."""
        while True:
            self.producer.poll(0)
            self._raise_failed()
            now_s = self.clock()
            if now_s - self.checkpoint_s >= _CHECKPOINT_S and self.keeper is not None:
                self._checkpoint()
            if now_s - self.progress_s >= _PROGRESS_S:
                self._tell()
            if self.stop.is_set():
                return 0, 0
            allowed = self._room()
            horizon_ms = self.pace.horizon_ms(topic, time_ms)
            if allowed > 0 and time_ms <= horizon_ms:
                return allowed, horizon_ms
            self.producer.poll(_WAIT_S)

    def _room(self) -> int:
        """Return how many events may go before the next check of the lag."""
        if self.lag is None:
            return _BURST
        self.seen_lag = self.lag()
        if self.seen_lag is None:
            ahead = self.events - self.skipped
        else:
            ahead = self.seen_lag + len(self.producer)  # appended but unread, plus not yet appended
        return min(_BURST, self.max_ahead - ahead)

    def _checkpoint(self) -> None:
        """Wait until every event is acknowledged or has failed for good; then write the resume point."""
        while self.producer.flush(0.1) > 0:
            self._raise_failed()
        self._raise_failed()
        if self.keeper is not None:
            self.keeper.save(self.start + self.events)
        self.checkpoint_s = self.clock()

    def _tell(self) -> None:
        self.progress_s = self.clock()
        if self.on_progress is not None:
            rate = self.events / max(1e-9, self.progress_s - self.began_s)
            counts = self.start + self.events, self.source.total, self.events, self.dead_letters
            self.on_progress(Progress(*counts, rate, self.time_ms, self.seen_lag))

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self.failed is None:
            self.failed = f"{message.topic()}: an event was not delivered: {error.str()}"

    def _raise_failed(self) -> None:
        if self.failed is not None:
            raise Fatal(f"{self.bootstrap}: {self.failed}; the next run goes on from the last resume point")


def _metadata(producer: Producer, bootstrap: Kafka, source: EventSource) -> ClusterMetadata:
    """Return the cluster's metadata. Checks that all topics exist: no broker needs to create them automatically."""
    try:
        found = producer.list_topics(timeout=_METADATA_TIMEOUT_S)
    except KafkaException as error:
        raise Fatal(f"no Kafka broker answers at {bootstrap}; start one with: make kafka") from error
    for topic in source.topics:
        if topic not in found.topics:
            raise Fatal(f"{bootstrap}: topic {topic} does not exist; make the topics with: streamwise topics")
    return found
