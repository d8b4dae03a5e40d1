"""Reads ranges of partitions, and asks a cluster about its topics and groups."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource

from streams.errors import Fatal, Retryable

TIMEOUT_S = 30.0
AT_ONCE = 2000  # messages per call: 2 MB of rows
WAIT_S = 0.02  # for AT_ONCE messages; fewer come at the end of a partition
DAY_MS = 86_400_000
ASK_S, PAUSE_S = 5.0, 0.2
NO_COORDINATOR = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,
)


class Record(NamedTuple):
    """One record of a partition."""

    offset: int
    key: bytes | None
    value: bytes | None


class Log:
    """Reads partitions by assignment; it commits no offsets and joins no group. A context manager."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        more = {"enable.auto.commit": False, "auto.offset.reset": "error", "enable.partition.eof": True}
        # small fetches, so that the broker serves the roles in between
        room = {"queued.max.messages.kbytes": 32 << 10, "max.partition.fetch.bytes": 256 << 10,
                "fetch.wait.max.ms": 20, "check.crcs": True}  # fmt: skip
        self._consumer = Consumer({**client, "group.id": "streamwise-backup", **more, **room})

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def bounds(self, topic: str, number: int) -> tuple[int, int]:
        """The first offset of a partition, and the offset after its last."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_S)
        except KafkaException as error:
            raise _unreadable(topic, number, error.args[0].str()) from error
        return int(low), int(high)

    def read(self, topic: str, number: int, begin: int, end: int) -> Iterator[Record]:
        """Yields the records from `begin` to before `end` that exist."""
        if begin >= end:
            return
        self._consumer.assign([TopicPartition(topic, number, begin)])
        try:
            yield from self._read(topic, number, end)
        finally:
            self._consumer.unassign()

    def _read(self, topic: str, number: int, end: int) -> Iterator[Record]:
        patience = time.monotonic() + TIMEOUT_S
        while True:
            messages = self._consumer.consume(AT_ONCE, WAIT_S)
            if not messages and time.monotonic() > patience:
                raise _unreadable(topic, number, f"nothing came for {TIMEOUT_S:.0f} s")
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise _unreadable(topic, number, error.str())
                offset = message.offset()
                if offset >= end:
                    return
                yield Record(offset, message.key(), message.value())
                if offset + 1 == end:
                    return
            if messages:
                patience = time.monotonic() + TIMEOUT_S


def _unreadable(topic: str, number: int, why: str) -> Retryable:
    return Retryable(f"{topic}[{number}] could not be read: {why}; check the broker and try again")


class Cluster:
    """Asks a cluster about its topics and groups, and deletes records."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._admin = AdminClient(dict(client))

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """The ids of topics; a topic that is deleted and recreated gets a new id."""
        found = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=TIMEOUT_S)
        return {name: str(_answer(future).topic_id) for name, future in found.items()}

    def deletions_kept_ms(self, topic: str) -> int:
        """How long a compacted topic keeps a tombstone, in ms."""
        asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
        (future,) = self._admin.describe_configs([asked], request_timeout=TIMEOUT_S).values()
        entry = _answer(future).get("delete.retention.ms")
        return int(entry.value) if entry is not None else DAY_MS

    def committed(self, group: str, topics: Sequence[str]) -> dict[str, dict[str, int]]:
        """The offsets that a group has committed, by topic and partition."""
        asked = [ConsumerGroupTopicPartitions(group)]
        answer = self._patiently(self._admin.list_consumer_group_offsets, asked)
        found: dict[str, dict[str, int]] = {}
        for at in answer.topic_partitions:
            if at.topic in topics and at.offset >= 0:
                found.setdefault(at.topic, {})[str(at.partition)] = at.offset
        return found

    def members(self, group: str) -> int:
        """The number of members that a group has now."""
        described = self._patiently(self._admin.describe_consumer_groups, [group])
        return 0 if described.state == ConsumerGroupState.DEAD else len(described.members)

    def _patiently(self, ask: Callable[..., Any], asked: Any) -> Any:
        """Ask about one group, and again while the broker has no group coordinator: a new one makes it when asked."""
        until = time.monotonic() + TIMEOUT_S
        while True:
            (future,) = ask(asked, request_timeout=ASK_S).values()
            try:
                return future.result()
            except KafkaException as error:
                if error.args[0].code() not in NO_COORDINATOR or time.monotonic() > until:
                    return _answer(future)
            time.sleep(PAUSE_S)

    def delete_before(self, places: Mapping[tuple[str, int], int]) -> None:
        """Delete the records before these offsets."""
        asked = [TopicPartition(topic, number, offset) for (topic, number), offset in places.items()]
        if asked:
            for future in self._admin.delete_records(asked, request_timeout=TIMEOUT_S).values():
                _answer(future)


def _answer(future: Any) -> Any:
    try:
        return future.result()
    except KafkaException as error:
        kind = Retryable if error.args[0].retriable() else Fatal
        raise kind(f"the broker refused: {error.args[0].name()} {error.args[0].str()}") from error
