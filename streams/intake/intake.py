"""A Faust app without rows: one agent, which may wait, takes raw batches of some topics in order, a fetch at a time.

The learner and the ledger run on this. `positions` count what is taken; the role itself says which offsets may be
committed. Faust's own acknowledgements are not used (streams/transport/consumer.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from faust.types.tuples import TP

from streams.batches import RawBatch, open_batch
from streams.durability import FencedChangelog
from streams.errors import Poison, StreamwiseError, located
from streams.kafka import BrokerProbe, Kafka, Outputs
from streams.supervision import LONGER, Steps, Watch, end_process
from streams.transport import App, Consumer, make_app

log = logging.getLogger(__name__)

TAKE = "take"
TAKE_PATIENCE = 1.5  # a step within it stalls it, too: the watchdog names that step first
BUFFERED_FETCHES = 2  # fetches that wait for the agent: back pressure keeps no more in memory

Bounds = dict[
    TP, tuple[int, int]
]  # where reading would begin (committed, or the earliest offset), and the end

Batches = Sequence[tuple[TP, RawBatch]]  # opened, in the order of each partition


class Taker(Protocol):
    """Handles the batches of a role. An error that leaves any of its methods ends the process."""

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """Begin with the newly assigned partitions, before any batch; returns the first wanted offset of each."""

    async def take(self, batches: Batches) -> None:
        """Handle the batches of one fetch, calling `Intake.taken` on the way; it may wait as long as it needs."""

    async def commit(self) -> dict[TP, int]:
        """Make the work on taken batches durable; returns the offsets that may be committed now."""


class Intake:
    """Runs a `Taker` on a Faust app.

    `positions` are the next wanted offset of each held partition; `missed` counts records that the broker deleted
    before they were read. `epoch` rises when partitions are revoked or assigned: the work in progress is then void, and
    `begin` starts again from what is durable.
    """

    def __init__(
        self,
        group: str,
        bootstrap: Kafka,
        topics: Sequence[str],
        taker: Taker,
        *,
        partitions: int,
        folder: Path,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.topics, self._taker = list(topics), taker
        self.positions: dict[TP, int] = {}
        self.missed = 0
        self.epoch = 0
        self.assigned = False
        self.steps = Steps()
        self.probe = BrokerProbe(bootstrap)
        self._ends: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._committing, self._beginning = asyncio.Lock(), asyncio.Lock()
        self.app: App = make_app(
            group,
            bootstrap,
            partitions=partitions,
            datadir=str(folder),
            stream_buffer_maxsize=BUFFERED_FETCHES,
        )
        self.app.committer = self._commit
        self.app.bundled = frozenset(self.topics)
        self.app.on_rebalance_complete.connect(self._on_assigned)
        self.app.on_partitions_revoked.connect(self._on_revoked)
        source = self.app.topic(*self.topics, key_serializer="raw", value_serializer="raw")

        @self.app.agent(source, name=group)
        async def take(stream: Any) -> None:
            async for event in stream.events():
                await self._guarded(self._take, event.message.value.batches)

    def taken(self, tp: TP, next_offset: int, epoch: int) -> bool:
        """Note that all below `next_offset` is handled; returns false when the assignment has changed since `epoch`."""
        if epoch == self.epoch:
            self.positions[tp] = next_offset
        return epoch == self.epoch

    def lag(self) -> dict[str, int]:
        """Count the records that are appended but not taken, by topic, as of the newest fetch."""
        lags = dict.fromkeys(self.topics, 0)
        for tp, position in list(self.positions.items()):
            lags[tp.topic] += max(0, self._end(tp) - position)
        return lags

    def behind(self, tp: TP) -> bool:
        """Whether the broker has records of a held partition that are not taken, as of the newest fetch."""
        return self.positions.get(tp, 0) < self._end(tp)

    def _end(self, tp: TP) -> int:
        return max(self._ends.get(tp, 0), int(self.app.consumer.end_of(tp)))

    async def earliest(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Ask for the first offset that each partition still has."""
        found = await self.app.consumer.earliest_offsets(*tps)
        return {TP(tp.topic, tp.partition): int(offset) for tp, offset in found.items()}

    async def commit(self) -> None:
        """Commit now; besides, the app commits every second by itself."""
        await self.app.consumer.commit()

    async def _take(self, fetched: Batches) -> None:
        wanted = []
        positions = dict(self.positions)
        for tp, batch in fetched:
            position = positions.get(tp)
            if position is None or batch.next_offset <= position:
                continue  # it belongs to an earlier assignment, or was fetched twice
            if batch.first > position and not await self._skip(tp, position, batch.first):
                del positions[tp]
                continue
            try:
                open_batch(batch)
            except Poison as error:
                raise located(error, tp.topic, tp.partition, batch.base_offset) from error
            wanted.append((tp, batch))
            positions[tp] = batch.next_offset
        if wanted:
            with self.steps(TAKE):
                await self._taker.take(wanted)

    async def _skip(self, tp: TP, position: int, first: int) -> bool:
        """Handle missing records before offset `first`. Returns true when the broker has deleted them.

        Otherwise it seeks back, so that they are fetched again.
        """
        if (await self.earliest([tp]))[tp] <= position:
            await self.app.consumer.seek(tp, position)
            return False
        self.missed += first - position
        log.error("%s[%s]: offsets %d to %d were gone before they were read", *tp, position, first - 1)
        self.positions[tp] = first
        return True

    async def _commit(self, consumer: Consumer) -> bool:
        return bool(await self._guarded(self._commit_once, consumer))

    async def _commit_once(self, consumer: Consumer) -> bool:
        async with self._committing:
            epoch = self.epoch
            wanted = await self._taker.commit()
            if epoch != self.epoch:  # the writes of an earlier assignment may have been rolled back
                return False
            changed = {tp: offset for tp, offset in wanted.items() if self._committed.get(tp) != offset}
            with self.steps("offsets committed"):
                done = bool(changed) and await consumer.commit_offsets(changed)
            if done:
                self._committed.update(changed)
            return done

    # -- what the watchdog looks at, from its own thread

    def watches(self) -> list[Watch]:
        """Return the watches in order: the role's own steps first, as taking and fetching stall with any of them."""
        return [
            Watch(self._doing, functions={Outputs.send: "outputs queued", FencedChangelog.send: "outputs queued"}),
            Watch(self._assigning, LONGER), Watch(self._fetching), Watch(self._taking, TAKE_PATIENCE),
        ]  # fmt: skip

    def _doing(self) -> dict[str, object]:
        return {step: entered for step, entered in self.steps.waiting().items() if step != TAKE}

    def _assigning(self) -> dict[str, object]:
        return {} if self.assigned else {"assignment": (self.epoch, self.app.rebalancing_count)}

    def _fetching(self) -> dict[str, object]:
        if not self.assigned or TAKE in self.steps:
            return {}
        positions = dict(self.positions)
        ends = self.probe.ends((tp.topic, tp.partition) for tp in positions)
        return {
            f"fetch of {tp.topic}[{tp.partition}]": position
            for tp, position in positions.items()
            if ends.get((tp.topic, tp.partition), -1) > position
        }

    def _taking(self) -> dict[str, object]:
        return {TAKE: tuple(self.positions.values())} if TAKE in self.steps else {}

    async def _on_assigned(self, app: Any, **_: Any) -> None:
        await self._guarded(self._begin)

    async def _begin(self) -> None:
        """Commit the offsets from which this role wants to read, as Faust seeks to the committed offsets next.

        The broker may be slow to answer and change the assignment meanwhile: assignments begin one after the other, and
        one that is over by its turn is skipped.
        """
        self._end_epoch()
        epoch = self.epoch
        async with self._beginning:
            if epoch != self.epoch:
                return
            consumer = self.app.consumer
            held = {tp for tp in consumer.assignment() if tp.topic in self.topics}
            bounds: Bounds = await consumer.bounds(held) if held else {}
            starts = await self._taker.begin(bounds)
            moved = {tp: start for tp, start in starts.items() if start != bounds[tp][0]}
            if moved and epoch == self.epoch:
                await consumer.commit_offsets(moved)
                await consumer.seek_wait(moved)  # aiokafka does not seek to a committed 0
            if epoch != self.epoch:
                return
            self._committed = {tp: moved.get(tp, start) for tp, (start, _) in bounds.items()}
            self._ends = {tp: end for tp, (_, end) in bounds.items()}
            self.positions = dict(starts)
            self.assigned = True

    def _on_revoked(self, app: Any, revoked: Any, **_: Any) -> None:
        self._end_epoch()

    def _end_epoch(self) -> None:
        self.epoch += 1
        self.assigned = False
        self.positions = {}

    async def _guarded(self, call: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        """End the process on any error: one that left the agent's body or a commit would let Faust lose the batch."""
        try:
            return await call(*given)
        except StreamwiseError as error:
            end_process(str(error))
        except Exception as error:  # the only catch-all of the intake
            log.exception("in %s", call.__qualname__)
            end_process(f"{call.__qualname__}: {type(error).__name__}: {error}")
