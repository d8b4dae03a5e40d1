"""Keeps the position of a replay, so that the next run neither omits an event nor sends one twice.

A run writes a resume point when the broker has acknowledged all events so far. A killed run may have appended
events after its last point; the next run reads them back from the log and skips them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from ingest.source import EventSource
from streams.errors import Fatal
from streams.kafka import Kafka, librdkafka_settings

# takes librdkafka's own log lines, which nobody has to see: our errors report what matters in them
LOGGER = logging.getLogger("streamwise.librdkafka")
LOGGER.addHandler(logging.NullHandler())

# The producer's local queue. Once a killed run has not appended so many events in a row, it has appended none of
# those that follow.
QUEUE_EVENTS = 100_000

_ADMIN_TIMEOUT_S = 10.0
_READ_BACK_TIMEOUT_S = 60.0

Ends = dict[str, dict[str, int]]  # topic -> partition number as text -> offset of the next record


@dataclass(frozen=True)
class ResumePoint:
    """`cluster` has acknowledged `position` events of `source`; `ends`: its log ends, then or earlier."""

    source: str
    fingerprint: str
    cluster: str
    position: int
    ends: Ends


class ResumePointStore:
    """Keeps the resume point of one source on one cluster.

    `position`: the number of events of earlier runs that the cluster has acknowledged.
    """

    def __init__(
        self,
        state_dir: Path,
        source: EventSource,
        bootstrap: Kafka,
        cluster: str,
        partitions: Sequence[tuple[str, int]],
        take_up: bool,
    ) -> None:
        """`partitions`: all partitions that the source's events may reach. Without `take_up` the replay starts over."""
        self.source, self.cluster, self.partitions = source, cluster, partitions
        self.path = state_dir / (_safe(f"{source.name}@{cluster}") + ".json")
        self.admin = AdminClient(librdkafka_settings(bootstrap), logger=LOGGER)
        self.position = 0
        self.known: set[bytes] = set()  # digests of the events in the log beyond the point
        self.misses = 0
        self.ends = _log_ends(self.admin, partitions)
        point = load(self.path, source) if take_up else None
        if point is None:
            self._write(0)
        else:
            self._check(point)
            self.position = point.position
            self.known = _appended(bootstrap, point.ends, self.ends)
            self.ends = point.ends

    def _check(self, point: ResumePoint) -> None:
        """Raise Fatal if a log is shorter than at the point: its topic was recreated and lost the events."""
        for topic, offsets in point.ends.items():
            for partition, end in offsets.items():
                if self.ends.get(topic, {}).get(partition, 0) < end:
                    what = f"{topic}[{partition}] is shorter than it was; if the topics were made anew"
                    raise Fatal(f"{self.path}: {what}, start over with --no-resume")

    def appended(self, topic: str, key: bytes, value: bytes) -> bool:
        """Return whether a killed run has appended this event. Call it in the order of the source."""
        if not self.known:
            return False
        mark = _digest(topic, key, value)
        if mark in self.known:
            self.known.remove(mark)
            self.misses = 0
            return True
        self.misses += 1
        if self.misses > QUEUE_EVENTS:
            self.known.clear()
        return False

    def save(self, position: int) -> None:
        """Write the resume point: all events before number `position` are acknowledged."""
        if not self.known:  # until then the next run has to read back from where this one did
            self.ends = _log_ends(self.admin, self.partitions)
        self._write(position)

    def _write(self, position: int) -> None:
        point = ResumePoint(self.source.name, self.source.fingerprint, self.cluster, position, self.ends)
        draft = self.path.with_suffix(".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(asdict(point), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)  # atomic: a crash leaves the old point or the new one
        except OSError as error:
            raise Fatal(f"{self.path}: the resume point cannot be written: {error.strerror}") from error


def load(path: Path, source: EventSource) -> ResumePoint | None:
    """Return the resume point in `path`, or None if there is none. Raises Fatal if it is of another source."""
    try:
        point = ResumePoint(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Fatal(f"{path}: the resume point cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise Fatal(f"{path}: not a resume point ({error}); start over with --no-resume") from error
    if point.fingerprint != source.fingerprint:
        raise Fatal(f"{path}: {source.name} or its mapping changed since; start over with --no-resume")
    return point


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._@" else "_" for c in name)


def _log_ends(admin: AdminClient, partitions: Sequence[tuple[str, int]]) -> Ends:
    """Ask the broker, in one request, for the offset after the last record of each partition."""
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for topic, partition in partitions}
    ends: Ends = {}
    for where, future in admin.list_offsets(asked, request_timeout=_ADMIN_TIMEOUT_S).items():
        ends.setdefault(where.topic, {})[str(where.partition)] = future.result().offset
    return ends


def _digest(topic: str, key: bytes, value: bytes) -> bytes:
    """Return 16 bytes that identify one event (message ids make the values unique)."""
    return hashlib.blake2b(b"%b\0%d\0%b%b" % (topic.encode(), len(key), key, value), digest_size=16).digest()


def _appended(bootstrap: Kafka, begins: Ends, ends: Ends) -> set[bytes]:
    """Return the digests of the events in the log from `begins` up to `ends`."""
    ahead = {
        (topic, int(partition)): (begin, ends[topic][partition])
        for topic, offsets in begins.items()
        for partition, begin in offsets.items()
        if ends.get(topic, {}).get(partition, 0) > begin
    }
    found: set[bytes] = set()
    if not ahead:
        return found
    settings = {"group.id": "streamwise-replay", "enable.auto.commit": False, "enable.partition.eof": True}
    settings |= {**librdkafka_settings(bootstrap), "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20}
    consumer = Consumer(settings, logger=LOGGER)
    try:
        consumer.assign(
            [TopicPartition(topic, partition, span[0]) for (topic, partition), span in ahead.items()]
        )
        deadline_s = time.monotonic() + _READ_BACK_TIMEOUT_S
        while ahead:
            if time.monotonic() > deadline_s:
                raise Fatal(f"{bootstrap}: the log could not be read back in {_READ_BACK_TIMEOUT_S:.0f} s")
            for message in consumer.consume(1000, timeout=0.2):
                where = str(message.topic()), int(message.partition() or 0)
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is None:
                    deadline_s = time.monotonic() + _READ_BACK_TIMEOUT_S
                    found.add(_digest(where[0], _bytes(message.key()), _bytes(message.value())))
                if where in ahead and (
                    error is not None or int(message.offset() or 0) + 1 >= ahead[where][1]
                ):
                    del ahead[where]
    finally:
        consumer.close()
    return found


def _bytes(data: str | bytes | None) -> bytes:
    return data.encode() if isinstance(data, str) else data or b""
