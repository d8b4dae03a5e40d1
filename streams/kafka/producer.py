"""Step 8: sends outputs through librdkafka; a commit first waits for their acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, Producer

from streams.errors import Fatal

QUEUE_FULL_PAUSE_S = 0.005
SERVED_AFTER = 100  # records; to serve acknowledgements lets other threads have the interpreter


class Outputs:
    """A librdkafka producer that counts acknowledgements by epoch.

    An epoch ends when a commit cycle starts. `await settled(epoch)` returns when all in-sync replicas have acknowledged
    every record of the epochs up to this one; it raises `Fatal` when a delivery failed for good.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._producer = Producer(
            {
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "log_level": 3,
                "linger.ms": 1,
                "message.timeout.ms": 0,  # no limit: wait for a broker that is away; any other answers or refuses
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 512 * 1024,
                **config,
            }
        )
        self.epoch = 0
        self.failure: str | None = None
        self.produced = 0
        self._unserved = 0
        self._open: dict[int, int] = {0: 0}
        self._callback = self._make_callback(0)

    def _make_callback(self, epoch: int) -> Callable[[KafkaError | None, Any], None]:
        left = self._open

        def delivered(error: KafkaError | None, message: Any) -> None:
            left[epoch] -= 1
            if error is not None and self.failure is None:
                self.failure = f"{message.topic()}[{message.partition()}]: {error.str()}"

        return delivered

    def begin_epoch(self) -> int:
        """Close the current epoch and return its number, for `settled`."""
        closed = self.epoch
        self.epoch += 1
        self._open[self.epoch] = 0
        self._callback = self._make_callback(self.epoch)
        return closed

    def send(self, topic: str, messages: Sequence[dict[str, Any]], partition: int = -1) -> None:
        """Queue messages (`{"key", "value"}`); blocks only when the queue is full. See `poll`."""
        batch = list(messages)
        self._open[self.epoch] += len(batch)
        self.produced += len(batch)
        self._unserved += len(batch)
        extra = {} if partition < 0 else {"partition": partition}
        while True:
            queued = self._try(topic, batch, extra)
            if queued == len(batch):
                break
            left = [(message, message.pop("_error")) for message in batch if "_error" in message]
            for _, error in left:
                if error.code() != KafkaError._QUEUE_FULL:  # librdkafka would refuse it for ever
                    raise Fatal(f"an output to {topic} cannot be produced: {error.str()}")
            batch = [message for message, _ in left]
            self._producer.poll(QUEUE_FULL_PAUSE_S)
            self.check()
        if self._unserved > SERVED_AFTER:
            self.poll()

    def _try(self, topic: str, batch: list[dict[str, Any]], extra: dict[str, int]) -> int:
        return int(self._producer.produce_batch(topic, batch, on_delivery=self._callback, **extra))

    def send_one(
        self, topic: str, key: bytes, value: bytes, partition: int, landed: Callable[[int], None]
    ) -> None:
        """Queue one record; call `landed(offset)` when it is acknowledged."""
        counted = self._callback

        def delivered(error: KafkaError | None, message: Any) -> None:
            counted(error, message)
            if error is None:
                landed(message.offset())

        self._open[self.epoch] += 1
        self.produced += 1
        while True:
            try:
                self._producer.produce(
                    topic, key=key, value=value, partition=partition, on_delivery=delivered
                )
                return
            except BufferError:
                self._producer.poll(QUEUE_FULL_PAUSE_S)
                self.check()

    def poll(self) -> None:
        """Serve acknowledgements without a wait; `send` does so after every `SERVED_AFTER` records."""
        self._unserved = 0
        self._producer.poll(0)

    def check(self) -> None:
        """Raise `Fatal` if a delivery failed for good."""
        if self.failure is not None:
            raise Fatal(f"an output was refused for good: {self.failure}; nothing was committed past it")

    def outstanding(self, epoch: int) -> int:
        """Count the records of epochs up to `epoch` that are not acknowledged yet."""
        return sum(count for number, count in self._open.items() if number <= epoch)

    @property
    def pending(self) -> int:
        """How many records are not acknowledged yet; any thread may ask."""
        return sum(list(self._open.values()))

    async def settled(self, epoch: int) -> None:
        """Wait until every record of the epochs up to `epoch` is acknowledged."""
        while True:
            self.poll()
            self.check()
            if self.outstanding(epoch) == 0:
                break
            await asyncio.sleep(0.001)
        for number in [n for n in self._open if n <= epoch and n != self.epoch]:
            del self._open[number]

    def flush(self, timeout_s: float) -> int:
        """Wait for all acknowledgements; returns how many are still missing."""
        return int(self._producer.flush(timeout_s))
