"""Step 2: Faust's Kafka transport, made to deliver raw record batches. The one corner that reaches into privates.

`aiokafka.consumer.fetcher.PartitionRecords` is replaced by a subclass that yields each record batch whole,
so that Faust's machinery (groups, assignor, tables, standbys, recovery) runs once a batch. aiokafka and
faust-streaming are pinned; `tests/streams/transport/test_consumer.py` fails when what is relied on changes.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiokafka.consumer.fetcher as fetcher
import faust
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import _MemoryRecordsPy
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from streams.batches.record_batch import (
    CONTROL,
    HEADER,
    TRANSACTIONAL,
    RawBatch,
    open_batch,
    read_header,
    skipped,
)
from streams.errors import Fatal, Poison, located

from . import frames

SCHEME = "batch"
# one fetch is in flight for all partitions of a broker: a silent one holds the others up this long
FETCH_MAX_WAIT_MS = 10
# Between two fetches: what comes meanwhile comes together, which costs less than it delays. A fetch costs the broker,
# its thread here and the loop as much as some hundred events, so the more come the longer they gather.
FETCH_PACE_S, LONGEST_PACE_S, PACE_PER_EVENT_S = 0.004, 0.008, 15e-6
# While events come, other topics (the rows that a standby follows) give way: a piece is applied in a few milliseconds.
LIVE_S, ASIDE_BYTES, ASIDE_PACE_S = 0.1, 128 << 10, 0.02
UNSURE_MS = 1000  # a hundred times as long as a fetch takes while there is nothing new
TOPICS_PATIENCE_S, TOPICS_PAUSE_S = 20.0, 0.1  # less than a member may take to join
FULL_PAUSE_S = 0.01  # while enough of every partition lies decoded


@dataclass(slots=True)
class Bundle:
    """All that one fetch brought, in the order of each partition, and where the partitions ended then."""

    batches: list[tuple[TP, RawBatch]]
    ends: dict[TP, int]


class RawPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Yields `RawBatch` instead of records. Control and aborted batches come as empty ones, so offsets move."""

    next_fetch_offset: int

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.batches: list[RawBatch] = []
        self._damage: Fatal | Poison | None = None
        try:
            self._read_headers(self.next_fetch_offset)
        except (Fatal, Poison) as error:  # whoever asks for it meets it
            after = self.batches[-1].next_offset if self.batches else self.next_fetch_offset
            self._damage = located(error, self._tp.topic, self._tp.partition, after)

    def _read_headers(self, first: int) -> None:
        records = self._records
        while records.has_next():
            data = records._next_slice
            batch = read_header(data, first=first)  # before aiokafka trusts its length
            records._cache_next()
            if self.batches and batch.base_offset < self.batches[-1].next_offset:
                before = self.batches.pop()  # it would have the one behind it taken for consumed
                raise Poison(f"a record batch from {before.base_offset} on reaches into the next one")
            if self._aborted(data, batch):
                batch = skipped(batch.base_offset, batch.next_offset)
            first = max(first, batch.next_offset)
            self.batches.append(batch)
            self._newest = data

    def end_at(self, end: int) -> None:
        """Where the log ended when the broker began this fetch: what it claims more would move the position out of it.

        The broker reads on while it is written, so there may be batches behind that end. They are as their
        producer made them: nothing is compacted yet, and each offset has its record.
        """
        if self.batches and self.batches[-1].next_offset > end and not self._just_written():
            batch = self.batches.pop()
            reason = f"a record batch claims offsets up to {batch.offset}, and the log ends at {end}"
            self._damage = Poison(
                reason, topic=self._tp.topic, partition=self._tp.partition, offset=batch.base_offset
            )

    def _just_written(self) -> bool:
        """Whether the last batch has a record for each of its offsets."""
        batch = self.batches[-1]
        return bool(HEADER.unpack_from(self._newest, 0)[12] == batch.next_offset - batch.base_offset)

    def _unpack_records(self) -> Iterator[RawBatch]:
        for batch in self.batches:
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
            yield batch
        if self._damage is not None:
            raise self._damage

    def _aborted(self, data: memoryview, batch: RawBatch) -> bool:
        """Whether the batch belongs to a transaction that was rolled back."""
        header = HEADER.unpack_from(data, 0)
        attributes, producer = header[5], header[9]
        if producer < 0 or not (attributes & TRANSACTIONAL):
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if attributes & CONTROL:
            self._aborted_producers.discard(producer)
            return False
        return producer in self._aborted_producers


def install() -> None:
    """Put the raw-batch classes in place and register the `batch://` scheme. Idempotent."""
    for name in ("_unpack_records", "_consume_aborted_up_to"):
        if not hasattr(fetcher.PartitionRecords, name):
            raise Fatal(
                f"this aiokafka has no PartitionRecords.{name}; install the version in requirements.lock"
            )
    fetcher.PartitionRecords = RawPartitionRecords
    fetcher.MemoryRecords = _MemoryRecordsPy
    frames.install()
    faust.transport.by_url.__self__.aliases[SCHEME] = f"{__name__}:Transport"


class Arrivals(OrderedDict[Any, Any]):
    """aiokafka's store of what was fetched and not asked for yet, with a call for each result that comes in."""

    def __init__(self, arrived: Callable[[Any, Any], None]) -> None:
        super().__init__()
        self._arrived = arrived

    def __setitem__(self, tp: Any, result: Any) -> None:
        super().__setitem__(tp, result)
        self._arrived(tp, result)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """aiokafka's consumer with settings that Faust hard-wires otherwise. `ends`: see `Bundle`, as of the last fetch."""

    _next_fetch_s = 0.0
    _brought = 0  # events, by the last fetch
    _live_until_s = _next_aside_s = 0.0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.ends: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        # A partition that is not drained at once (back pressure) must not hold up the others of its broker.
        own = self._ensure_consumer()._fetcher
        own._prefetch_backoff = 0
        self._actions = own._get_actions_per_node
        own._get_actions_per_node = self._paced_actions
        own._records = Arrivals(self._arrived)
        group = self._ensure_consumer()._coordinator
        self._assign = group._perform_assignment
        group._perform_assignment = self._assign_known

    async def _assign_known(self, response: Any) -> Any:
        """As the group's leader: know all topics before they are assigned.

        A broker that is just up again may answer that there are none, and Faust would leave them out for good.
        """
        group = self._ensure_consumer()._coordinator
        until = time.monotonic() + TOPICS_PATIENCE_S
        while not all(map(group._cluster.partitions_for_topic, group._subscription.topics)):
            if time.monotonic() > until:
                break
            await asyncio.sleep(TOPICS_PAUSE_S)
            await group._client.force_metadata_update()
        return await self._assign(response)

    def _paced_actions(self, assignment: Any) -> Any:
        """No fetch follows the one before at once: what comes meanwhile comes together."""
        now = time.monotonic()
        if now < self._next_fetch_s:
            return [], {}, self._next_fetch_s - now, False, []
        actions = self._actions(assignment)
        if actions[0]:
            self._next_fetch_s = now + min(LONGEST_PACE_S, FETCH_PACE_S + PACE_PER_EVENT_S * self._brought)
            if self._brought:
                self._live_until_s = now + LIVE_S
            self._brought = 0
            if now < self._live_until_s:
                for _node, request in actions[0]:
                    self._put_aside(request, now)
        return actions

    def _put_aside(self, request: Any, now: float) -> None:
        """Ask for little of the topics that are no events, and seldom."""
        bundled = self.app.bundled
        due = now >= self._next_aside_s or not any(topic in bundled for topic, _ in request.topics)
        topics = [(topic, partitions) for topic, partitions in request.topics if topic in bundled]
        aside = [(topic, partitions) for topic, partitions in request.topics if topic not in bundled]
        if aside and due:
            self._next_aside_s = now + ASIDE_PACE_S
            for topic, partitions in aside:
                topics.append(
                    (topic, [(number, at, min(most, ASIDE_BYTES)) for number, at, most in partitions])
                )
        request._topics = topics

    def _arrived(self, tp: Any, result: Any) -> None:
        """A fetch came in, while the pass still has the one before it: a thread may begin to decode."""
        if not isinstance(result, fetcher.FetchResult):
            return
        result._partition_records.end_at(result._assignment.state_value(tp).highwater)
        if tp.topic in self.app.bundled:
            for batch in result._partition_records.batches:
                self._brought += batch.next_offset - batch.base_offset
                self.app.fetched(tp.topic, batch)

    async def _fetch_records(self, consumer: Any, active_partitions: Any, **named: Any) -> Any:
        """Drain what was fetched, but for the partition numbers of which one topic is not known as well as the others.

        Of the calls between Faust's two threads this is the one that runs in the consumer's own.
        Batches of bundled topics stay closed: the pass, or a thread ahead of it, opens them.
        """
        unsure = self._unsure()
        if unsure and active_partitions:
            bundled = self.app.bundled
            active_partitions = {
                tp for tp in active_partitions if tp.topic not in bundled or tp.partition not in unsure
            }
            if not active_partitions:  # to aiokafka, none would be all
                await asyncio.sleep(FULL_PAUSE_S)
                return {}
        records = await super()._fetch_records(consumer, active_partitions, **named)
        self.ends = self._ends()
        for tp, batches in records.items():
            if tp.topic in self.app.bundled:
                continue
            for batch in batches:
                try:
                    open_batch(batch, check_crc=self.app.conf.broker_check_crcs)
                except Poison as error:  # never acknowledged: the next process fetches it again
                    where = located(error, tp.topic, tp.partition, batch.base_offset)
                    raise CorruptRecordException(str(where)) from error
        return records

    def _ends(self) -> dict[TP, int]:
        """The last stable offsets that the newest fetches told, of the bundled topics."""
        return {
            TP(tp.topic, tp.partition): int(state.lso)
            for tp, state in self._states()
            if state.lso is not None
        }

    def _unsure(self) -> set[int]:
        """Partition numbers of which one topic was fetched lately and another was not, or never.

        After a broker was away a partition may be refused for a while longer than the others. Folded without it, all
        that the others brought meanwhile would make its events late ones.
        """
        states = self._states()
        if not states:
            return set()
        held = self._ensure_consumer()._fetcher._records
        newest_ms = max((state.timestamp for _, state in states if state.timestamp is not None), default=0)
        return {
            tp.partition
            for tp, state in states
            if tp not in held and (state.timestamp is None or state.timestamp < newest_ms - UNSURE_MS)
        }

    def _assignment(self) -> Any:
        """aiokafka's own, with the state of each partition."""
        subscription = self._consumer._subscription.subscription if self._consumer is not None else None
        return subscription.assignment if subscription is not None else None

    def _states(self) -> list[tuple[Any, Any]]:
        """What aiokafka knows of each partition of the bundled topics that is assigned."""
        assignment = self._assignment()
        if assignment is None:
            return []
        states = ((tp, assignment.state_value(tp)) for tp in assignment.tps if tp.topic in self.app.bundled)
        return [(tp, state) for tp, state in states if state]

    async def put_back(self, records: dict[TP, list[RawBatch]]) -> None:
        """Batches that were drained and are not delivered after all are drained again, unless someone has sought since.

        Faust stops and resumes the flow while it restores. What it drops meanwhile of a changelog nobody would fetch
        again, and whoever restores would wait for it.
        """
        assignment = self._assignment()
        for tp, batches in records.items():
            place = driver.ensure_aiokafka_TP(tp)
            state = assignment.state_value(place) if assignment is not None else None
            if state is not None and state.has_valid_position and state.position == batches[-1].next_offset:
                self._ensure_consumer().seek(place, max(batches[0].first, batches[0].base_offset))

    async def pause_in_client(self, tps: set[TP]) -> None:
        """Stop fetching `tps` in the client itself until the next assignment."""
        consumer = self._ensure_consumer()
        held = consumer.assignment()
        for tp in map(driver.ensure_aiokafka_TP, tps):
            if tp in held:
                consumer.pause(tp)

    async def bounds(self, tps: set[TP]) -> dict[TP, tuple[int, int]]:
        """Where reading begins (committed, or the earliest offset) and where each partition ends; asks the broker."""
        consumer = self._ensure_consumer()
        wanted = [driver.ensure_aiokafka_TP(tp) for tp in tps]
        first = await consumer.beginning_offsets(wanted)
        last = await consumer.end_offsets(wanted)
        found = {}
        for tp in wanted:
            committed = await consumer.committed(tp)
            start = first[tp] if committed is None else max(committed, first[tp])
            found[TP(tp.topic, tp.partition)] = (start, last[tp])
        return found


def _message(tp: TP, batch: RawBatch, value: Any, generation: int) -> ConsumerMessage:
    """What Faust knows a batch by: its last offset."""
    time_s = batch.append_time_ms / 1000.0
    return ConsumerMessage(
        tp.topic, tp.partition, batch.offset, time_s, 0, (), None, value, None, 0, 0, tp, generation_id=generation
    )  # fmt: skip


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Delivers raw batches to Faust and asks the role's committer what to commit.

    `app.committer` is called by every commit Faust makes (periodic, on revocation, on shutdown);
    `app.backlog(tp)` says whether enough of a partition lies decoded already. What a fetch brought of the
    topics in `app.bundled` comes as one message (its value a `Bundle`, its batches closed), as Faust's own work
    for a message costs more than the pass over a small batch; `app.fetched(topic, batch)` is called with each
    in the fetch thread.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._commit_every = None  # or each 10,000th message waits until the commit under way has ended

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self._thread.call_thread(self._thread.put_back, records)
            return
        bundle = Bundle([], self._thread.ends)
        for tp, batches in records.items():
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            if tp.topic in self.app.bundled:
                bundle.batches += [(tp, batch) for batch in batches]
                continue
            for batch in batches:
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, _message(tp, batch, batch, generation)
        if bundle.batches and self.flow_active and self.app.consumer_generation_id == generation:
            tp, batch = bundle.batches[0]
            yield tp, _message(tp, batch, bundle, generation)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        if active_partitions:
            full = self.app.backlog
            active_partitions = {tp for tp in active_partitions if not full(tp)}
            if not active_partitions:  # to aiokafka, none would be all
                await asyncio.sleep(FULL_PAUSE_S)
                return {}
        return await super()._getmany(active_partitions, timeout)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust's gap trees cost more than the kernels; the committer knows what is applied."""

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        for tp in list(self._acked):
            self._acked[tp].clear()
            self._acked_index[tp].clear()
        return bool(await self.app.committer(self))

    async def commit_offsets(self, offsets: dict[TP, int]) -> bool:
        """Commit the offsets of the partitions that are still assigned here."""
        held = self.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in held}
        if not offsets:
            return False
        done = bool(await self._commit(offsets))
        if done:
            self._committed_offset.update(offsets)
        return done

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.stop_flow()
        self.app.hurried = True
        try:
            await self.maybe_wait_for_commit_to_finish()  # one under way began before the last events
            await self.commit()
        finally:
            self.app.hurried = False
        await super().on_partitions_revoked(revoked)

    async def pause_in_client(self, tps: set[TP]) -> None:
        """Stop fetching `tps` (a live partition's own changelog) until the next assignment."""
        await self._thread.call_thread(self._thread.pause_in_client, tps)

    async def bounds(self, tps: set[TP]) -> dict[TP, tuple[int, int]]:
        """(position, end) of each partition, asked of the broker."""
        return await self._thread.call_thread(self._thread.bounds, tps)  # type: ignore[no-any-return]

    def end_of(self, tp: TP) -> int:
        """The end of the partition as of the newest fetch (the last stable offset), -1 when not known."""
        assignment = self._thread._assignment()
        state = assignment.state_value(driver.ensure_aiokafka_TP(tp)) if assignment is not None else None
        if state is None:
            return -1
        return -1 if state.lso is None else int(state.lso)


class Transport(driver.Transport):  # type: ignore[misc]
    """`batch://host:port`."""

    Consumer = Consumer
