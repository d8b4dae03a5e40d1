"""Step 2: Faust's Kafka transport, made to deliver raw record batches. Only this package uses others' private names.

A subclass replaces `aiokafka.consumer.fetcher.PartitionRecords` and yields each record batch whole, so that Faust's
machinery (groups, assignor, tables, standbys, recovery) runs once a batch. aiokafka and faust-streaming are pinned;
`tests/streams/transport/test_consumer.py` fails when the internals that this relies on change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from streams.batches import RawBatch

from .consumer_thread import FULL_PAUSE_S, ConsumerThread


@dataclass(slots=True)
class Bundle:
    """The batches of one fetch, each partition's in order, and where the partitions ended then."""

    batches: list[tuple[TP, RawBatch]]
    ends: dict[TP, int]


def _message(tp: TP, batch: RawBatch, value: Any, generation: int) -> ConsumerMessage:
    """Make Faust's message for a batch; its offset is the batch's last one."""
    time_s = batch.append_time_ms / 1000.0
    return ConsumerMessage(
        tp.topic, tp.partition, batch.offset, time_s, 0, (), None, value, None, 0, 0, tp, generation_id=generation
    )  # fmt: skip


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Delivers raw batches to Faust and asks the role's committer what to commit.

    Every commit of Faust's (periodic, on revocation, on shutdown) calls `app.committer`. `app.backlog(tp)` says whether
    a partition has enough decoded records waiting. All batches of a fetch from topics in `app.bundled` come as one
    message (its value a `Bundle`, its batches closed), because Faust's own work for a message costs more than the pass
    over a small batch. The fetch thread calls `app.fetched(topic, batch)` with each of them.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._commit_every = None  # otherwise each 10,000th message waits for the end of the current commit

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
            if not active_partitions:  # aiokafka takes an empty set for all partitions
                await asyncio.sleep(FULL_PAUSE_S)
                return {}
        return await super()._getmany(active_partitions, timeout)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: Faust's gap trees cost more than the kernels, and the committer knows what is applied."""

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
            await self.maybe_wait_for_commit_to_finish()  # the current commit began before the last events
            await self.commit()
        finally:
            self.app.hurried = False
        await super().on_partitions_revoked(revoked)

    async def pause_in_client(self, tps: set[TP]) -> None:
        """Stop fetching `tps` (a live partition's own changelog) until the next assignment."""
        await self._thread.call_thread(self._thread.pause_in_client, tps)

    async def bounds(self, tps: set[TP]) -> dict[TP, tuple[int, int]]:
        """Ask the broker for (position, end) of each partition."""
        return await self._thread.call_thread(self._thread.bounds, tps)  # type: ignore[no-any-return]

    def end_of(self, tp: TP) -> int:
        """Return the partition's end (the last stable offset) as of the newest fetch, -1 when it is not known."""
        assignment = self._thread._assignment()
        state = assignment.state_value(driver.ensure_aiokafka_TP(tp)) if assignment is not None else None
        if state is None:
            return -1
        return -1 if state.lso is None else int(state.lso)


class Transport(driver.Transport):  # type: ignore[misc]
    """The transport of `batch://host:port`."""

    Consumer = Consumer
