"""Step 8: who writes the changelog. One writer a partition at any time, and the broker sees to it.

A worker that stands still (stopped, swapped out, cut off) while another one takes its partitions still has older rows
in hand and in its producer's queue when it wakes. Written behind the newer ones they would win. So each partition
has a transactional producer of its own name: whoever takes the partition makes the broker refuse all earlier
producers of that name before it reads the changelog, and what it has read can no longer change behind its back
(docs/DECISIONS.md, "One writer for each partition of the changelog").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from .errors import Fatal, Retryable
from .outputs import Outputs

# The broker ends a transaction that is open longer. Whoever takes the partition ends it at once, so this may be the
# most that a broker allows by default: a broker that was away for some minutes does not end the workers.
TRANSACTION_MS = 900_000
CALL_S = 10.0  # of waiting in one call of librdkafka
TAKE_PATIENCE_S = 60.0
THREADS = 16
FENCED = {
    KafkaError._FENCED,
    KafkaError._FATAL,  # what a fenced producer says to whatever follows
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
    KafkaError.TRANSACTION_COORDINATOR_FENCED,
}


class Changelog(Protocol):
    """Where a commit cycle writes rows. What it wrote counts when `settled` returns, all of it or none."""

    def send(self, number: int, messages: Sequence[dict[str, Any]]) -> None:
        """Queue records for a partition."""

    def send_one(self, number: int, key: bytes, value: bytes, landed: Callable[[int], None]) -> None:
        """Queue one; `landed(offset)` is called when it is acknowledged."""

    async def settled(self) -> None:
        """Wait until all that was sent is there to be read. Raises `Fatal` when it never will be."""


class PlainChangelog:
    """Rows leave through `outputs`, for who is the only worker."""

    def __init__(self, topic: str, outputs: Outputs) -> None:
        self._topic, self._outputs = topic, outputs

    def send(self, number: int, messages: Sequence[dict[str, Any]]) -> None:
        self._outputs.send(self._topic, messages, number)

    def send_one(self, number: int, key: bytes, value: bytes, landed: Callable[[int], None]) -> None:
        self._outputs.send_one(self._topic, key, value, number, landed)

    async def settled(self) -> None:
        await self._outputs.settled(self._outputs.begin_epoch())


class FencedChangelog:
    """A transactional producer for each partition that is held, named after `group`, `topic` and its number."""

    def __init__(self, topic: str, group: str, config: dict[str, Any]) -> None:
        self._topic, self._group, self._config = topic, group, config
        self._held: dict[int, Outputs] = {}
        self._open: set[int] = set()  # partitions with a transaction in hand
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="changelog")

    async def take(self, numbers: Collection[int]) -> None:
        """Become the one writer of these partitions. What others had begun to write is rolled back by then."""
        new = [number for number in numbers if number not in self._held]
        made = await self._all(self._fence, new)
        self._held.update(zip(new, made, strict=True))

    def drop(self, number: int) -> None:
        """The partition may be written by another one from now on."""
        log = self._held.pop(number, None)
        self._open.discard(number)
        self._threads.submit(_let_go, log)

    def poll(self) -> None:
        """Serve acknowledgements without waiting."""
        for log in self._held.values():
            log.poll()

    @property
    def pending(self) -> int:
        """Records that are not acknowledged yet."""
        return sum(log.pending for log in list(self._held.values()))

    def send(self, number: int, messages: Sequence[dict[str, Any]]) -> None:
        if not messages:
            return
        with self._writing(number) as log:
            log.send(self._topic, messages, number)

    def send_one(self, number: int, key: bytes, value: bytes, landed: Callable[[int], None]) -> None:
        with self._writing(number) as log:
            log.send_one(self._topic, key, value, number, landed)

    async def settled(self) -> None:
        begun = sorted(self._open)
        for number in begun:
            with self._writing(number) as log:
                await log.settled(log.begin_epoch())
        await self._all(self._commit, begun)
        self._open.clear()

    @contextmanager
    def _writing(self, number: int) -> Iterator[Outputs]:
        """The producer of a partition, in a transaction. What it raises becomes one line that says why."""
        log = self._held.get(number)
        if log is None:
            raise Fatal(f"{self._topic}[{number}] is not held by this worker; nothing was committed")
        try:
            if number not in self._open:
                log.begin_transaction()
                self._open.add(number)
            yield log
        except (Fatal, KafkaException) as error:
            code = error.args[0].code() if isinstance(error, KafkaException) else log.failure_code
            if code in FENCED:
                raise Fatal(
                    f"another worker has taken {self._topic}[{number}] while this one stood still; "
                    "it ends and joins the group again, nothing is lost"
                ) from error
            raise Fatal(
                f"{self._topic}[{number}] could not be written: {error}; nothing was committed past it"
            ) from error

    async def _all(self, call: Callable[[int], Any], numbers: Sequence[int]) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(self._threads, call, n) for n in numbers))

    def _fence(self, number: int) -> Outputs:
        log = Outputs(
            {
                **self._config,
                "transactional.id": f"{self._group}-{self._topic}-{number}",
                "transaction.timeout.ms": TRANSACTION_MS,
            }
        )
        try:
            self._patiently(lambda: log.init_transactions(CALL_S))
        except KafkaException as error:
            raise Retryable(
                f"{self._topic}[{number}] cannot be taken for writing: {error.args[0].str()}"
            ) from error
        return log

    def _commit(self, number: int) -> None:
        with self._writing(number) as log:
            self._patiently(lambda: log.commit_transaction(CALL_S))

    def _patiently(self, call: Callable[[], None]) -> None:
        until = time.monotonic() + TAKE_PATIENCE_S
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > until:
                    raise


def _let_go(log: Outputs | None) -> None:
    """The last reference ends librdkafka's threads, which takes a moment: not in the event loop's thread."""
