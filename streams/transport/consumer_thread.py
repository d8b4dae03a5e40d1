"""Runs aiokafka's consumer in a thread of its own, which fetches as fast as the worker takes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import aiokafka.consumer.fetcher as fetcher
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP

from streams.batches import RawBatch, open_batch
from streams.errors import Poison, located

# One fetch is in flight for all partitions of a broker. It leaves out partitions whose last records are not taken yet;
# while the others are silent, it holds these up for as long as it may wait. In an idle role no partition is left out,
# and the broker answers as soon as there is a record: so a fetch may wait longer, and the role asks seldom. A broker
# that does not end the wait when a record comes (the embedded one) delays the first record by `IDLE_SHARE` of the idle
# time.
FETCH_MAX_WAIT_MS, IDLE_FETCH_MAX_WAIT_MS, IDLE_SHARE = 10, 1000, 1 / 20
# The pause between two fetches lets records gather, which saves more than the delay costs. A fetch costs the broker,
# this thread and the event loop as much as some hundred events, so the more events come, the longer they gather.
FETCH_PACE_S, LONGEST_PACE_S, PACE_PER_EVENT_S = 0.004, 0.008, 15e-6

# While events come, other topics (the rows that a standby follows) come in small pieces, each applied in a few ms.
LIVE_S, ASIDE_BYTES, ASIDE_PACE_S = 0.1, 128 << 10, 0.02
LOOK_S = 0.2  # how often aiokafka looks for partitions to fetch; what it waits for wakes it, too
UNSURE_MS = 1000  # added to the time that a fetch may wait: a hundred times that time while events come
TOPICS_PATIENCE_S, TOPICS_PAUSE_S = 20.0, 0.1  # less than a member may take to join

FULL_PAUSE_S = 0.01  # the pause while no partition may be taken from


class NotifyingRecords(OrderedDict[Any, Any]):
    """aiokafka's store of fetched results that nobody has taken yet; calls `arrived` with each new result."""

    def __init__(self, arrived: Callable[[Any, Any], None]) -> None:
        super().__init__()
        self._arrived = arrived

    def __setitem__(self, tp: Any, result: Any) -> None:
        super().__setitem__(tp, result)
        self._arrived(tp, result)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """aiokafka's consumer, with settings that Faust hard-wires otherwise. `ends`: as of the last fetch (`Bundle`)."""

    _next_fetch_s = 0.0
    _brought = 0  # events of the last fetch
    _live_until_s = _next_aside_s = 0.0
    _quiet_since_s = 0.0
    _quiet_assignment: Any = None
    _waits_ms: Mapping[int, int] = {}  # how long the latest fetch of each broker may wait there

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
        own._records = NotifyingRecords(self._arrived)
        group = self._ensure_consumer()._coordinator
        self._assign = group._perform_assignment
        group._perform_assignment = self._assign_known

    async def _assign_known(self, response: Any) -> Any:
        """Wait, as the group's leader, until all topics are known before assigning them.

        A broker that has just restarted may answer that a topic does not exist; Faust would then never assign it.
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
        """Return aiokafka's next requests, but only after a pause since the last fetch, in which records gather."""
        now = time.monotonic()
        if now < self._next_fetch_s:
            return [], {}, self._next_fetch_s - now, False, []
        own = self._ensure_consumer()._fetcher
        own._fetch_max_wait_ms = self._max_wait_ms(own, assignment, now)
        own._fetcher_timeout = max(LOOK_S, 2e-3 * own._fetch_max_wait_ms)
        actions = self._actions(assignment)
        if actions[0]:
            self._waits_ms = {**self._waits_ms, **{node: own._fetch_max_wait_ms for node, _ in actions[0]}}
            self._next_fetch_s = now + min(LONGEST_PACE_S, FETCH_PACE_S + PACE_PER_EVENT_S * self._brought)
            if self._brought:
                self._live_until_s = now + LIVE_S
            self._brought = 0
            if now < self._live_until_s:
                for _node, request in actions[0]:
                    self._put_aside(request, now)
        return actions

    def _max_wait_ms(self, own: Any, assignment: Any, now: float) -> int:
        """Return how long a fetch may wait for its first record: not long if it may leave out a partition."""
        if own._records or assignment is not self._quiet_assignment:
            self._quiet_since_s, self._quiet_assignment = now, assignment
        idle_ms = int(1000 * IDLE_SHARE * (now - self._quiet_since_s))
        return min(IDLE_FETCH_MAX_WAIT_MS, max(FETCH_MAX_WAIT_MS, idle_ms))

    def _put_aside(self, request: Any, now: float) -> None:
        """Reduce a request for topics without events to small pieces, asked for seldom."""
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
        """Hand each batch of a new fetch to `app.fetched`: a thread may decode it while the pass is busy."""
        self._quiet_since_s = time.monotonic()
        if not isinstance(result, fetcher.FetchResult):
            return
        result._partition_records.end_at(result._assignment.state_value(tp).highwater)
        if tp.topic in self.app.bundled:
            for batch in result._partition_records.batches:
                self._brought += batch.next_offset - batch.base_offset
                self.app.fetched(tp.topic, batch)

    async def _fetch_records(self, consumer: Any, active_partitions: Any, **named: Any) -> Any:
        """Drain the fetched batches, except of partition numbers that are unsure (`_unsure`).

        Faust calls this in the consumer's own thread. Batches of bundled topics stay closed: the pass, or a thread
        ahead of it, opens them.
        """
        unsure = self._unsure()
        if unsure and active_partitions:
            bundled = self.app.bundled
            active_partitions = {
                tp for tp in active_partitions if tp.topic not in bundled or tp.partition not in unsure
            }
            if not active_partitions:  # aiokafka takes an empty set for all partitions
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
                except Poison as error:  # never acknowledged, so the next process fetches it again
                    where = located(error, tp.topic, tp.partition, batch.base_offset)
                    raise CorruptRecordException(str(where)) from error
        return records

    def _ends(self) -> dict[TP, int]:
        """Return the last stable offsets of the bundled topics, as of the newest fetches."""
        return {
            TP(tp.topic, tp.partition): int(state.lso)
            for tp, state in self._states()
            if state.lso is not None
        }

    def _unsure(self) -> set[int]:
        """Return the partition numbers of which one topic was fetched lately, but another was not or never.

        After an outage a broker may refuse one partition for longer than the others. If the fold went on without it,
        its events would come behind the watermark and count as late.
        """
        states = self._states()
        if not states:
            return set()
        held = self._ensure_consumer()._fetcher._records
        newest_ms = max((state.timestamp for _, state in states if state.timestamp is not None), default=0)
        late_ms = newest_ms - UNSURE_MS - max(self._waits_ms.values(), default=0)
        return {
            tp.partition
            for tp, state in states
            if tp not in held and (state.timestamp is None or state.timestamp < late_ms)
        }

    def _assignment(self) -> Any:
        """Return aiokafka's assignment, which has the state of each partition; None when there is none."""
        subscription = self._consumer._subscription.subscription if self._consumer is not None else None
        return subscription.assignment if subscription is not None else None

    def _states(self) -> list[tuple[Any, Any]]:
        """Return aiokafka's state of each assigned partition of the bundled topics."""
        assignment = self._assignment()
        if assignment is None:
            return []
        states = ((tp, assignment.state_value(tp)) for tp in assignment.tps if tp.topic in self.app.bundled)
        return [(tp, state) for tp, state in states if state]

    async def put_back(self, records: dict[TP, list[RawBatch]]) -> None:
        """Seek back to drained batches that are not delivered after all, unless the position has changed since.

        Faust stops and resumes the flow while it restores. Nobody would fetch the part of a changelog again that it
        drops meanwhile, and the recovery would wait for it for ever.
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
        """Ask the broker where reading begins (the committed or the earliest offset) and where each partition ends."""
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
