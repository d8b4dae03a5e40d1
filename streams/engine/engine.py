"""The engine: raw batches in, a pass over merged events, outputs and changed rows out. It knows no topic's meaning.

A `Pass` knows what an event means. The engine brings it merged events and rows; the commit cycle makes its results
durable (docs/ARCHITECTURE.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from streams.avro import REASONS, AvroProgram
from streams.batches import RawBatch, decode_columns, open_batch
from streams.errors import Fatal, Poison, located
from streams.kafka import Outputs

from .outbox import Outbox
from .partition import PLACES, Partition

TopicPartition = tuple[str, int]
LIVE_MS = 3_600_000  # a stream is live while its events are younger than this when they are appended
LETTER_BYTES = (
    256 << 10
)  # of a bad key and value each: the whole could exceed what a broker takes, and the source topic still has it
DAMAGED = "the batch is damaged"  # the metrics count every dead letter whose reason is a text under this one
BACKLOG_EVENTS = 20_000  # decoded events of one topic's partition that may wait for the other topics


class Pass(Protocol):
    """Steps 5 to 7 and 10: folds the events of a partition and fires its deadlines."""

    fields: int  # width of an event's field vector
    default_row: Any  # float64[words]
    deadline_words: Any  # int64[d]
    expire_after_ms: float  # a row whose clock is behind the watermark by more than this counts as new
    largest_output_bytes: int  # the outbox always has room for one record of this size

    @property
    def programs(self) -> Sequence[AvroProgram]:
        """The decoding program of each source topic."""

    @property
    def outputs(self) -> Sequence[str]:
        """The output topics; the pass writes their indices into the outbox."""

    def new_state(self) -> Any:
        """Make what a partition carries besides rows (`Partition.state`)."""

    def run(self, partition: Partition, first: int, count: int, outbox: Outbox) -> int:
        """Fold events `inbox.order[first:count]`, then fire what is due. Returns the next event to fold.

        It returns early (below `count`, or -1 when only deadlines are left) when the outbox is full or no place for a
        row is free; the engine drains the outbox, makes room for rows and calls again.
        """

    def label(self, topic: int, label: int) -> str:
        """Return the name of an outbox label in the metrics."""

    def dead_letter(self, topic: str, partition: int, offset: int, reason: str, key: bytes | None,
                    value: bytes | None, time_ms: int) -> bytes:  # fmt: skip
        """Encode a dead letter."""


@dataclass(slots=True)
class Counters:
    """What the engine did since it started. `outputs` are counted by (topic, label)."""

    events: int = 0
    batches: int = 0
    dead_letters: int = 0
    pass_s: float = 0.0
    outputs: dict[tuple[str, str], int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)


class Engine:
    """Holds partitions by number and folds batches into them. One thread owns it."""

    def __init__(
        self,
        sources: Sequence[str],
        work: Pass,
        outputs: Outputs,
        *,
        dead_letters: str = "dead-letters",
        wall_clock_ms: Callable[[], float] = lambda: time.time() * 1000,
        idle_after_ms: float = np.inf,
        places: int = PLACES,
        rows_bytes: int = 0,
    ) -> None:
        """`places` and `rows_bytes` hold for one partition: see `streams.state.rows.Rows`."""
        self.sources = list(sources)
        self.work = work
        self.outputs = outputs
        self.outbox = Outbox()
        self.outbox.ensure(work.largest_output_bytes)
        self.counters = Counters()
        self.partitions: dict[int, Partition] = {}
        self.dead_letters = dead_letters
        self.on_cutover: Callable[[Partition, dict[str, Any]], None] = lambda partition, following: None
        self._wall_clock_ms = wall_clock_ms
        self._idle_after_ms = idle_after_ms
        self._places, self._rows_bytes = places, rows_bytes
        self._topic_number = {topic: number for number, topic in enumerate(self.sources)}
        self._last_arrival_ms = wall_clock_ms()

    def partition(self, number: int) -> Partition:
        """Return the partition of this number; make it when it is new."""
        found = self.partitions.get(number)
        if found is None:
            work = self.work
            found = Partition(
                number,
                len(self.sources),
                work.fields,
                work.default_row,
                work.deadline_words,
                self._places,
                self._rows_bytes,
            )
            found.state = work.new_state()
            self.partitions[number] = found
        return found

    def prepare(self, topic: str, batch: RawBatch) -> None:
        """Open and decode a batch. Any thread may call it: the first does the work, a second one waits for it."""
        with batch.lock:
            open_batch(batch)
            if batch.columns is None and batch.count:
                batch.columns = decode_columns(batch, self.work.programs[self._topic_number[topic]])

    def receive(self, topic: str, number: int, batch: RawBatch) -> int:
        """Decode a batch into its partition's inbox without folding it. Returns how many events are good."""
        partition = self.partition(number)
        which = self._topic_number[topic]
        try:
            self.prepare(topic, batch)
        except (Fatal, Poison) as error:
            raise located(error, topic, number, batch.base_offset) from error
        good = partition.receive(which, batch, self.work.programs[which], self._bury)
        self.counters.batches += 1
        self._last_arrival_ms = self._wall_clock_ms()
        return good

    def on_batch(self, topic: str, number: int, batch: RawBatch) -> None:
        """Receive a batch and fold all events that may be folded now."""
        self.receive(topic, number, batch)
        self.fold(self.partitions[number])

    def on_bundle(
        self, bundle: Iterable[tuple[TopicPartition, RawBatch]], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Receive all batches of a fetch, then fold each partition that they touched once.

        `ends`: where each partition ended at the time of the fetch. Until a topic has come to its end here, the fold
        waits for it.
        """
        touched = {}
        for (topic, number), batch in bundle:
            self.receive(topic, number, batch)
            touched[number] = self.partitions[number]
        for (topic, number), end in ends.items():
            partition = self.partitions.get(number)
            if partition is not None:
                which = self._topic_number[topic]
                partition.ends[which] = max(partition.ends[which], end)
        for partition in touched.values():
            self.fold(partition)

    def fold(self, partition: Partition) -> int:
        """Merge and fold the events that may be folded now; returns how many."""
        if not partition.live:
            return 0
        count = self._fold(partition)
        if (turn := partition.cutover) is not None and partition.at_cutover:
            partition.cutover = None
            self.on_cutover(partition, turn.following)
            count += self._fold(partition)
        return count

    def _fold(self, partition: Partition) -> int:
        count = partition.take()
        if count:
            self._run(partition, count)
            self.counters.events += count
        return count

    def _run(self, partition: Partition, count: int) -> None:
        started = time.perf_counter()
        partition.make_room()
        done = self.work.run(partition, 0, count, self.outbox)
        while done < count:
            self._drain(partition)
            partition.make_room()
            done = self.work.run(partition, max(done, 0) if done >= 0 else count, count, self.outbox)
        self._drain(partition)
        self.counters.pass_s += time.perf_counter() - started

    def _drain(self, partition: Partition) -> None:
        """Hand the outbox to librdkafka."""
        outbox = self.outbox
        count, size = outbox.used.tolist()
        if not count:
            return
        data = outbox.data[:size].tobytes()
        keys = partition.index.keys(outbox.slot[:count])
        by_topic: dict[int, list[dict[str, Any]]] = {}
        rows = zip(
            outbox.topic[:count].tolist(),
            outbox.at[:count].tolist(),
            outbox.size[:count].tolist(),
            keys,
            strict=True,
        )
        for topic, at, length, key in rows:
            by_topic.setdefault(topic, []).append({"key": key, "value": data[at : at + length]})
        for topic, messages in by_topic.items():
            self.outputs.send(self.work.outputs[topic], messages, partition.number)
        self._count(outbox, count)
        outbox.clear()

    def _count(self, outbox: Outbox, count: int) -> None:
        pairs, numbers = np.unique(outbox.topic[:count] * 4096 + outbox.label[:count], return_counts=True)
        for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
            topic = pair // 4096
            key = (self.work.outputs[topic], self.work.label(topic, pair % 4096))
            self.counters.outputs[key] = self.counters.outputs.get(key, 0) + number

    def _bury(
        self, topic: int, partition: int, offset: int, reason: int | str, key: bytes | None, value: bytes | None,
        time_ms: int,
    ) -> None:  # fmt: skip
        text = REASONS[reason] if isinstance(reason, int) else reason
        key, value = key and key[:LETTER_BYTES], value and value[:LETTER_BYTES]
        letter = self.work.dead_letter(self.sources[topic], partition, offset, text, key, value, time_ms)
        source = f"{self.sources[topic]}:{partition}:{offset}".encode()
        self.outputs.send(self.dead_letters, [{"key": source, "value": letter}])
        self.counters.dead_letters += 1
        kind = text if isinstance(reason, int) else DAMAGED  # damaged batches have endlessly many texts
        self.counters.reasons[kind] = self.counters.reasons.get(kind, 0) + 1

    def tick(self) -> None:
        """Fold events that waited for an idle topic; deadlines of a live but silent stream follow the wall clock."""
        now = self._wall_clock_ms()
        idle = now - self._last_arrival_ms > self._idle_after_ms
        for partition in self.partitions.values():
            if not partition.live:
                continue
            self.fold(partition)
            if partition.cutover is not None:  # later deadlines are scored with what it brings into force
                continue
            live = partition.append_time_ms - partition.clocks[1] < LIVE_MS
            if idle and live and not partition.inbox.pending.any() and not partition.inbox.waiting.any():
                self.raise_watermark(partition, now)

    def raise_watermark(self, partition: Partition, time_ms: float) -> None:
        """Advance the partition's watermark to `time_ms` without an event, and fire what is due by then."""
        partition.clocks[1] = max(partition.clocks[1], time_ms)
        partition.make_room()
        while self.work.run(partition, 0, 0, self.outbox) < 0:
            self._drain(partition)
            partition.make_room()
        self._drain(partition)

    def full(self, topic: str, number: int) -> bool:
        """Whether more than `BACKLOG_EVENTS` decoded events of this topic's partition wait for the other topics."""
        partition = self.partitions.get(number)
        which = self._topic_number.get(topic)
        if partition is None or which is None:
            return False
        return bool(partition.inbox.pending[which] > BACKLOG_EVENTS)

    def lag(self) -> dict[str, int]:
        """Count the events that are appended but not folded, by topic."""
        lags = dict.fromkeys(self.sources, 0)
        for partition in list(self.partitions.values()):  # a copy: other threads call this, too
            for which, topic in enumerate(self.sources):
                if partition.positions[which] >= 0:
                    behind = int(partition.ends[which] - partition.positions[which])
                    lags[topic] += max(0, behind) + int(partition.inbox.pending[which])
        return lags
