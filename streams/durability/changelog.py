"""Step 8: the fenced changelog. Each partition has one writer at any time, and the broker enforces it.

A worker may stand still (stopped, swapped out, cut off) while another one takes its partitions. When it wakes, it still
has older rows in memory and in its producer's queue; if it wrote them behind the newer ones, they would win. So each
partition has a transactional producer with an id of its own. A worker that takes the partition first makes the broker
refuse all earlier producers of that id (fencing) and then reads the changelog, which nobody else can change any more
(docs/decisions/streams.md, "One writer for each partition of the changelog").
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from streams.errors import Fatal, Retryable
from streams.kafka import Kafka, as_connection
from streams.state import BATCH_BYTES, RowBatch

# The broker aborts a transaction that is open longer. A new writer of the partition aborts it at once anyway, so this
# may be the most that a broker allows by default: then workers survive a broker that was away for some minutes.
TRANSACTION_MS = 900_000
REQUEST_MS = 60_000  # the producer repeats a request that has no answer for so long
TAKE_PATIENCE_S = 60.0
CLOSE_PATIENCE_S = 5.0
# A transaction is committed after this time, so that standbys can follow steadily. Rows may become readable before
# their control row: each row has its applied offsets, so a replay counts no event twice.
TRANSACTION_S = 0.5
# Rows may be in flight up to this size before the writer waits: each wait lets a fold come between and takes as long.
WAITING_BYTES = 64 << 20
FENCED = (
    kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch, kafka_errors.InvalidProducerIdMapping,
)  # fmt: skip
T = TypeVar("T")

log = logging.getLogger(__name__)


class Changelog(Protocol):
    """Takes the rows of a commit cycle. When `settled` returns all of them can be read, and some of them earlier."""

    def send(self, number: int, messages: Sequence[dict[str, Any]]) -> None:
        """Queue a few records (`{"key", "value"}`) for a partition."""

    def send_one(self, number: int, key: bytes, value: bytes, landed: Callable[[int], None]) -> None:
        """Queue one record; call `landed(offset)` when it is acknowledged."""

    async def send_rows(self, number: int, rows: RowBatch) -> None:
        """Queue a batch of rows; wait while many are in flight."""

    async def settled(self) -> None:
        """Wait until all that was sent can be read. Raises `Fatal` when it never will be."""


class _Writer:
    """The transactional producer of one partition. Lives in the changelog's own event loop."""

    def __init__(self, topic: str, number: int, producer: AIOKafkaProducer, transaction_s: float) -> None:
        self._topic, self._number, self.producer = topic, number, producer
        self._transaction_s = transaction_s
        self._in_turn = asyncio.Lock()
        self._begun_s = 0.0  # 0 when no transaction is open

    async def deliver(self, batch: RowBatch | BatchBuilder) -> int:
        """Append a batch behind those delivered before; returns its first offset once it is acknowledged."""
        async with self._in_turn:
            if self._begun_s and time.monotonic() - self._begun_s > self._transaction_s:
                await self.commit()
            if not self._begun_s:
                await self.producer.begin_transaction()
                self._begun_s = time.monotonic()
            sent = await self._queued(batch)
        return int((await sent).offset)

    async def _queued(self, batch: RowBatch | BatchBuilder) -> asyncio.Future[Any]:
        while True:
            try:
                sent = await self.producer.send_batch(batch, self._topic, partition=self._number)
                return cast("asyncio.Future[Any]", sent)
            except kafka_errors.KafkaTimeoutError:
                continue  # the broker is away, and the batch before this one still waits for it

    async def commit(self) -> None:
        """Commit the open transaction, so that its records can be read."""
        self._begun_s = 0.0
        await self.producer.commit_transaction()


class FencedChangelog:
    """A transactional producer for each held partition, with an id of `group`, `topic` and the partition's number.

    The producers run in a thread of their own, so their work takes no time of the events' loop. `transaction_s`: a
    transaction that is open longer is committed before the next batch; with infinity all that is sent to a partition
    until `settled` becomes readable at once or never.
    """

    def __init__(self, topic: str, group: str, kafka: Kafka, *, transaction_s: float = TRANSACTION_S) -> None:
        self._topic, self._group, self._settings = topic, group, as_connection(kafka).aiokafka()
        self._transaction_s = transaction_s
        self._held: dict[int, _Writer] = {}
        # since the last commit: batches, and their records
        self._sent: dict[int, list[tuple[Future[int], int]]] = {}
        self._rows: deque[tuple[int, Future[int], int]] = deque()  # batches of rows, and their bytes
        self._rows_bytes = 0
        self._ending: list[Future[None]] = []
        self._loop = asyncio.new_event_loop()
        # the sender of a batch meets its failure; aiokafka also sets it on futures of its own, which nobody awaits
        self._loop.set_exception_handler(lambda _, context: log.debug("%s", context))
        self._thread = threading.Thread(target=self._loop.run_forever, name="changelog", daemon=True)
        self._thread.start()

    async def take(self, numbers: Collection[int]) -> None:
        """Become the one writer of these partitions; open transactions of earlier writers are aborted before."""
        new = [number for number in numbers if number not in self._held]
        made = await asyncio.gather(
            *(asyncio.wrap_future(self._start(self._fence(number))) for number in new)
        )
        self._held.update(zip(new, made, strict=True))

    def drop(self, number: int) -> None:
        """Stop writing a partition; another worker may take it."""
        writer = self._held.pop(number, None)
        self._sent.pop(number, None)
        if writer is not None:
            self._ending = [one for one in self._ending if not one.done()]
            self._ending.append(self._start(_ended(writer.producer)))

    @property
    def pending(self) -> int:
        """How many records are not acknowledged yet; any thread may ask."""
        return sum(
            count for sent in list(self._sent.values()) for future, count in list(sent) if not future.done()
        )

    def send(self, number: int, messages: Sequence[dict[str, Any]]) -> None:
        batch = _builder()
        for message in messages:
            given = {"timestamp": None, "key": message["key"], "value": message["value"]}
            if batch.append(**given) is None:
                self._deliver(number, batch, batch.record_count())
                batch = _builder()
                batch.append(**given)
        if batch.record_count():
            self._deliver(number, batch, batch.record_count())

    def send_one(self, number: int, key: bytes, value: bytes, landed: Callable[[int], None]) -> None:
        batch = _builder()
        batch.append(timestamp=None, key=key, value=value)
        loop = asyncio.get_running_loop()

        def tell(sent: Future[int]) -> None:
            if not sent.cancelled() and sent.exception() is None:
                loop.call_soon_threadsafe(landed, sent.result())

        self._deliver(number, batch, 1).add_done_callback(tell)

    async def send_rows(self, number: int, rows: RowBatch) -> None:
        sent = self._deliver(number, rows, rows.record_count())
        self._rows.append((number, sent, rows.size()))
        self._rows_bytes += rows.size()
        while self._rows[0][1].done() or self._rows_bytes > WAITING_BYTES:
            first, oldest, size = self._rows.popleft()
            self._rows_bytes -= size
            if not oldest.done():  # `settled` meets the failure of a batch that is done
                await self._done(first, oldest)
            if not self._rows:
                return

    async def settled(self) -> None:
        for number, sent in list(self._sent.items()):
            for future, _ in sent:
                await self._done(number, future)
        commits = {number: self._start(self._writer(number).commit()) for number in self._sent}
        for number, commit in commits.items():
            await self._done(number, commit)
        self._sent.clear()

    def close(self) -> None:
        """Drop all partitions and end the thread; no write may follow."""
        for number in list(self._held):
            self.drop(number)
        wait(self._ending, CLOSE_PATIENCE_S)
        self._start(_rest_cancelled()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _done(self, number: int, work: Future[T]) -> T:
        """Return the result of `work`; turn its error into one line that says why."""
        try:
            return await asyncio.wrap_future(work)
        except Exception as error:
            raise self._refused(number, error) from error

    def _refused(self, number: int, error: Exception) -> Fatal:
        if isinstance(error, FENCED):
            return Fatal(
                f"another worker has taken {self._topic}[{number}] while this one stood still; "
                "it ends and joins the group again, nothing is lost"
            )
        return Fatal(f"{self._topic}[{number}] could not be written: {error}; nothing was committed past it")

    def _deliver(self, number: int, batch: RowBatch | BatchBuilder, count: int) -> Future[int]:
        sent = self._start(self._writer(number).deliver(batch))
        self._sent.setdefault(number, []).append((sent, count))
        return sent

    def _writer(self, number: int) -> _Writer:
        writer = self._held.get(number)
        if writer is None:
            raise Fatal(f"{self._topic}[{number}] is not held by this worker; nothing was committed")
        return writer

    async def _fence(self, number: int) -> _Writer:
        producer = AIOKafkaProducer(
            **self._settings, transactional_id=f"{self._group}-{self._topic}-{number}",
            transaction_timeout_ms=TRANSACTION_MS, request_timeout_ms=REQUEST_MS,
        )  # fmt: skip
        try:
            await asyncio.wait_for(producer.start(), TAKE_PATIENCE_S)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            await _ended(producer)
            reason = str(error) or f"no answer in {TAKE_PATIENCE_S:.0f} s"
            raise Retryable(f"{self._topic}[{number}] cannot be taken for writing: {reason}") from error
        return _Writer(self._topic, number, producer, self._transaction_s)

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` in the changelog's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _builder() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, DefaultRecordBatch.CODEC_NONE, is_transactional=1)


async def _ended(producer: AIOKafkaProducer) -> None:
    """Close the producer's connections; the next producer with its id aborts its open transaction."""
    with suppress(kafka_errors.KafkaError, OSError, AssertionError):
        await producer.stop()


async def _rest_cancelled() -> None:
    """Cancel all other tasks of this loop."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
