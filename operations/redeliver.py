"""Sends the records of dead letters back to their topics, each once.

One Kafka transaction writes a record and the mark that it was replayed: after a crash both are there or neither.
A later replay aborts the open transaction of an earlier one and fences it off (`transactional.id`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas.topics import ALERTS, DEAD_LETTERS, EXAMPLES, MESSAGES, OFFERS, OUTCOMES
from streams.errors import Fatal, Retryable
from streams.kafka import TIMEOUT_S, Kafka, librdkafka_settings, open_consumer

from .dead_letters import GROUP, REPLAYED_KEY, DeadLetterFilter, Letter, read_letters

ORIGIN_HEADER = "streamwise-dead-letter"  # header of a replayed record: the position of the original
TRANSACTION_LETTERS = 200  # in a transaction: readers wait for its end, so it is short
TRANSACTION_TIMEOUT_MS = 10_000  # then the broker aborts an open transaction, and readers go on
NEAR_RECORDS = 2000  # reading continues up to an original this close; it seeks to one farther ahead

# The group that reads each topic; the worker reads the sources.
WORKER_GROUP = "streamwise-worker"
GROUPS = {EXAMPLES: "streamwise-learner", MESSAGES: "streamwise-reader"}
GROUPS |= dict.fromkeys((ALERTS, OFFERS, OUTCOMES), "streamwise-ledger")


@dataclass(frozen=True, slots=True)
class Record:
    """A record to send: the original with its headers and time, or the copy in the letter."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, Any]]
    time_ms: int


@dataclass(slots=True)
class Redelivered:
    """What became of the chosen letters. `kept`: how many were left, by reason."""

    replayed: int = 0
    from_letter: int = 0  # those of `replayed` whose original was gone, while the letter held all of it
    kept: dict[str, int] = field(default_factory=dict)

    def keep(self, reason: str) -> None:
        """Count a letter that is left."""
        self.kept[reason] = self.kept.get(reason, 0) + 1


def redeliver(
    bootstrap: Kafka, sources: list[str], choice: DeadLetterFilter, *, limit: int | None = None, dry: bool = False,
    worker_group: str = WORKER_GROUP, after_send: Callable[[], None] = lambda: None,
) -> Redelivered:  # fmt: skip
    """Replay the chosen letters that were not replayed yet. `dry`: send nothing, only count.

    `after_send` is called before each transaction is committed, for tests.
    """
    producer = None if dry else _producer(bootstrap)
    box = read_letters(bootstrap)  # the producer above fences off other replays, so nobody adds to it now
    done = Redelivered()
    groups = {topic: [group] for topic, group in GROUPS.items()}
    for topic in sources:
        groups.setdefault(topic, []).append(worker_group)
    wanted: list[Letter] = []
    taken = CommittedOffsets(bootstrap, groups)
    for letter in box.chosen(choice):
        if letter.id in box.replayed:
            done.keep("replayed before")
        elif letter.topic not in groups:
            done.keep(f"{letter.topic} is not a topic of events: correct the record at its origin")
        elif not taken.past(letter):
            done.keep("its reader has not committed past it and may still read it: try later")
        elif limit is None or len(wanted) < limit:
            wanted.append(letter)
        else:
            done.keep("beyond the limit")
    batch: list[tuple[Letter, Record]] = []
    for letter, original in originals(bootstrap, wanted):
        record = original or _of_letter(letter)
        if record is None:
            done.keep("the original is gone, and the letter does not hold all of it")
            continue
        done.from_letter += original is None
        done.replayed += 1
        batch.append((letter, record))
        if len(batch) == TRANSACTION_LETTERS:
            _send(producer, batch, after_send)
            batch = []
    _send(producer, batch, after_send)
    return done


def told(done: Redelivered) -> dict[str, Any]:
    """Return the result for JSON."""
    return {"replayed": done.replayed, "from_letter": done.from_letter, "kept": dict(done.kept)}


def format_report(result: dict[str, Any]) -> list[str]:
    """Format the result for people."""
    found = [f"{result['replayed']:,} replayed, {result['from_letter']:,} of them from the letter itself"]
    return found + [f"{count:>8,} left: {reason}" for reason, count in sorted(result["kept"].items())]


class CommittedOffsets:
    """Tells whether the readers of a topic have committed past a record; only then they never read it again."""

    def __init__(self, bootstrap: Kafka, groups: Mapping[str, Sequence[str]]) -> None:
        self._bootstrap, self._groups = bootstrap, groups
        self._committed: dict[tuple[str, int], int] = {}

    def past(self, letter: Letter) -> bool:
        """Whether all readers have committed past this letter's record."""
        at = letter.topic, letter.partition
        if at not in self._committed:
            self._committed[at] = min(self._ask(group, *at) for group in self._groups[letter.topic])
        return letter.offset < self._committed[at]

    def _ask(self, group: str, topic: str, partition: int) -> int:
        settings = {**librdkafka_settings(self._bootstrap), "group.id": group, "log_level": 0}
        consumer = Consumer(settings)
        try:
            (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=TIMEOUT_S)
        except KafkaException as error:
            raise Retryable(f"the offsets of group {group} cannot be read: {error.args[0].str()}") from error
        finally:
            consumer.close()
        return -1 if found.offset == OFFSET_INVALID else int(found.offset)


def originals(bootstrap: Kafka, letters: list[Letter]) -> Iterator[tuple[Letter, Record | None]]:
    """Each letter with the record that it tells of, read where it stood; None when that is gone."""
    consumer = open_consumer(bootstrap, GROUP, {"auto.offset.reset": "error"})
    try:
        for (topic, partition), some in groupby(letters, key=lambda letter: letter[:2]):
            yield from _of_partition(consumer, topic, partition, list(some))
    finally:
        consumer.close()


def _of_partition(
    consumer: Any, topic: str, partition: int, letters: list[Letter]
) -> Iterator[tuple[Letter, Record | None]]:
    try:
        low, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
    except KafkaException:  # the topic no longer exists
        yield from ((letter, None) for letter in letters)
        return
    position, message = -NEAR_RECORDS, None  # offset of the next record; far from any letter at first
    for letter in letters:
        if not low <= letter.offset < end:
            yield letter, None
            continue
        if not 0 <= letter.offset - position < NEAR_RECORDS:
            consumer.assign([TopicPartition(topic, partition, letter.offset)])
            position, message = letter.offset, None
        while position <= letter.offset:
            message = _next(consumer)
            if message is None:  # the end: only transaction markers are left
                position = -NEAR_RECORDS
                break
            position = message.offset() + 1
        yield letter, _checked(letter, message)


def _next(consumer: Any) -> Any:
    """Return the next record; None at the end of the partition."""
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        message = consumer.poll(0.5)
        if message is None:
            continue
        error = message.error()
        if error is None:
            return message
        if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
            return None
    raise Retryable("the originals of the dead letters could not be read; check the broker")


def _checked(letter: Letter, message: Any) -> Record | None:
    """Return the record in `message` if it is the original of the letter; the topic may have been recreated."""
    if message is None or message.offset() != letter.offset:
        return None
    key, value = message.key(), message.value()
    for have, held in ((key, letter.key), (value, letter.value)):
        if held is not None and (have is None or have[: len(held)] != held):
            return None
    return Record(key, value, list(message.headers() or []), message.timestamp()[1])


def _of_letter(letter: Letter) -> Record | None:
    if letter.value is None or letter.cut:
        return None
    return Record(letter.key, letter.value, [], letter.time_ms)


def _producer(bootstrap: Kafka) -> Any:
    producer = Producer(
        {
            **librdkafka_settings(bootstrap),
            "transactional.id": "streamwise-dead-letters",
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "compression.type": "lz4",
            "log_level": 0,
        }
    )
    with _refused():
        producer.init_transactions(TIMEOUT_S)
    return producer


def _send(producer: Any, batch: list[tuple[Letter, Record]], after_send: Callable[[], None]) -> None:
    """Send the records to their partitions, each with its mark, in one transaction."""
    if producer is None or not batch:
        return
    with _refused():
        producer.begin_transaction()
        now_ms = int(time.time() * 1000)
        for letter, record in batch:
            headers = [(name, value) for name, value in record.headers if name != ORIGIN_HEADER]
            producer.produce(
                letter.topic, key=record.key, value=record.value, partition=letter.partition,
                headers=[*headers, (ORIGIN_HEADER, letter.id.encode())], timestamp=max(0, record.time_ms),
            )  # fmt: skip
            mark = json.dumps({"time": now_ms}).encode()
            producer.produce(
                DEAD_LETTERS,
                key=REPLAYED_KEY + letter.id.encode(),
                value=mark,
                partition=letter.partition_here,
            )
        producer.flush(TIMEOUT_S)
        after_send()
        producer.commit_transaction(TIMEOUT_S)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() in (
            KafkaError._FENCED,
            KafkaError.INVALID_PRODUCER_EPOCH,
            KafkaError.PRODUCER_FENCED,
        ):
            raise Fatal(
                "another `streamwise dead-letters replay` has started since; this one stops"
            ) from error
        raise Fatal(
            f"the broker refused the replay: {reason.str()}; run it again to replay the rest"
        ) from error
