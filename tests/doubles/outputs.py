"""`streams.kafka.producer.Outputs` without a broker: what is sent stays in a list, and settles when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from streams.batches.record_batch import parse_batch
from streams.batches.records import find_records
from streams.errors import Fatal
from streams.state.row_batch import RowBatch


class Sent(NamedTuple):
    """One record as it was sent."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class CapturedOutputs:
    """Keeps what is sent, in order. `during_settling` runs while a commit cycle waits, as other tasks would.

    `settled` acknowledges everything up to its epoch; `failure` makes it raise as a refused delivery does.
    `landed` counts the records that are acknowledged: a crash may lose any of the others.
    """

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.epochs: list[int] = []  # the epoch of each record sent
        self.epoch = 0
        self.failure: str | None = None
        self.acknowledged = 0  # epochs below this one are
        self.steps: list[str] = []
        self.during_settling: Callable[[], None] | None = None
        self._landed: list[tuple[int, Callable[[int], None], int]] = []

    @property
    def landed(self) -> list[Sent]:
        """Records that were acknowledged."""
        return [s for s, epoch in zip(self.sent, self.epochs, strict=True) if epoch < self.acknowledged]

    @property
    def in_flight(self) -> list[Sent]:
        """Records that were not: a crash may lose each of them."""
        return [s for s, epoch in zip(self.sent, self.epochs, strict=True) if epoch >= self.acknowledged]

    def of(self, topic: str) -> list[Sent]:
        """What was sent to `topic`."""
        return [sent for sent in self.sent if sent.topic == topic]

    def begin_epoch(self) -> int:
        self.epoch += 1
        return self.epoch - 1

    def send(self, topic: str, messages: Sequence[dict[str, Any]], partition: int = -1) -> None:
        for message in messages:
            self.sent.append(Sent(topic, partition, message["key"], message["value"]))
            self.epochs.append(self.epoch)
        self.steps.append(f"send {topic}")

    def send_one(
        self, topic: str, key: bytes, value: bytes, partition: int, landed: Callable[[int], None]
    ) -> None:
        offset = sum(1 for sent in self.sent if (sent.topic, sent.partition) == (topic, partition))
        self.send(topic, [{"key": key, "value": value}], partition)
        self._landed.append((self.epoch, landed, offset))

    async def settled(self, epoch: int) -> None:
        if self.during_settling is not None:
            self.during_settling()
        await asyncio.sleep(0)
        self.check()
        self.acknowledged = max(self.acknowledged, epoch + 1)
        self.steps.append("settled")
        for _, landed, offset in [one for one in self._landed if one[0] <= epoch]:
            landed(offset)
        self._landed = [one for one in self._landed if one[0] > epoch]

    def poll(self) -> None:
        pass

    def check(self) -> None:
        if self.failure is not None:
            raise Fatal(f"an output was refused for good: {self.failure}; nothing was committed past it")

    def outstanding(self, epoch: int) -> int:
        return sum(1 for number in self.epochs if self.acknowledged <= number <= epoch)

    @property
    def pending(self) -> int:
        return self.outstanding(self.epoch)

    def flush(self, timeout_s: float) -> int:
        return 0


class CapturedChangelog:
    """`streams.durability.changelog.Changelog` into captured outputs, a batch of rows record by record."""

    def __init__(self, topic: str, outputs: CapturedOutputs) -> None:
        self._topic, self._outputs = topic, outputs

    def send(self, number: int, messages: Sequence[dict[str, Any]]) -> None:
        self._outputs.send(self._topic, messages, number)

    def send_one(self, number: int, key: bytes, value: bytes, landed: Callable[[int], None]) -> None:
        self._outputs.send_one(self._topic, key, value, number, landed)

    async def send_rows(self, number: int, rows: RowBatch) -> None:
        await asyncio.sleep(0)
        self.send(number, messages(rows))

    async def settled(self) -> None:
        await self._outputs.settled(self._outputs.begin_epoch())

    def close(self) -> None:
        pass


def messages(rows: RowBatch) -> list[dict[str, Any]]:
    """A batch of rows as the records that a consumer gets."""
    parsed = parse_batch(memoryview(rows._build()), first=0)
    count = parsed.count
    offsets, *places = (np.empty(count, np.int64) for _ in range(5))
    assert find_records(parsed.buf, count, 0, 0, offsets, *places) == count
    data = parsed.buf.tobytes()
    at = zip(*(place.tolist() for place in places), strict=True)
    return [{"key": data[k : k + m], "value": data[v : v + n]} for k, m, v, n in at]
