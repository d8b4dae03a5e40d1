"""A Faust app without rows: raw batches of some topics, a fetch at a time, taken in order by one agent that may wait.

The learner and the ledger stand on this. What is taken is counted in `positions`; a role says itself what
may be committed. Faust's own acknowledgements are not used (streams/transport/consumer.py).
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
TAKE_PATIENCE = 1.5  # whatever stands still in it is named first
BUFFERED_FETCHES = 2  # fetched and not taken: with back pressure no more than this waits in memory

Bounds = dict[
    TP, tuple[int, int]
]  # where reading would begin (committed, or the earliest offset), and the end

Batches = Sequence[tuple[TP, RawBatch]]  # opened, in the order of each partition


class Taker(Protocol):
    """What a role does with its batches. An error that leaves any of these ends the process."""

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """These partitions are assigned now: from which offset on each is wanted. Called before any batch."""

    async def take(self, batches: Batches) -> None:
        """Handle what one fetch brought, telling `Intake.taken` as it goes; it may wait for as long as it needs."""

    async def commit(self) -> dict[TP, int]:
        """Make what was taken durable; returns the offsets that may be committed now."""


class Intake:
    """`positions`: the next offset wanted of each partition held. `missed`: records gone before they were read.

    `epoch` rises when partitions are taken away or assigned: what is in hand then belongs to nobody, and `begin`
    starts anew from what is durable.
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
        """Everything below `next_offset` is handled; false when the partition has been taken away since `epoch`."""
        if epoch == self.epoch:
            self.positions[tp] = next_offset
        return epoch == self.epoch

    def lag(self) -> dict[str, int]:
        """Records appended but not taken, by topic, as of the newest fetch."""
        lags = dict.fromkeys(self.topics, 0)
        for tp, position in list(self.positions.items()):
            lags[tp.topic] += max(0, self._end(tp) - position)
        return lags

    def behind(self, tp: TP) -> bool:
        """Whether the broker has records of a partition held that were not taken, as of the newest fetch."""
        return self.positions.get(tp, 0) < self._end(tp)

    def _end(self, tp: TP) -> int:
        return max(self._ends.get(tp, 0), int(self.app.consumer.end_of(tp)))

    async def earliest(self, tps: Iterable[TP]) -> dict[TP, int]:
        """The first offset that each partition still has."""
        found = await self.app.consumer.earliest_offsets(*tps)
        return {TP(tp.topic, tp.partition): int(offset) for tp, offset in found.items()}

    async def commit(self) -> None:
        """Commit now; the app does so every second by itself."""
        await self.app.consumer.commit()

    async def _take(self, fetched: Batches) -> None:
        wanted = []
        positions = dict(self.positions)
        for tp, batch in fetched:
            position = positions.get(tp)
            if position is None or batch.next_offset <= position:
                continue  # of an assignment that is over, or fetched again
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
        """Between what is wanted and what came, records are missing: they are gone, or have to be fetched again."""
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
            if epoch != self.epoch:  # what was written of another assignment may have been rolled back
                return False
            changed = {tp: offset for tp, offset in wanted.items() if self._committed.get(tp) != offset}
            with self.steps("offsets committed"):
                done = bool(changed) and await consumer.commit_offsets(changed)
            if done:
                self._committed.update(changed)
            return done

    # -- what the watchdog looks at, from its own thread

    def watches(self) -> list[Watch]:
        """The role's own steps first; taking and fetching stand still with any of them."""
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
        """Faust seeks to the committed offsets next: commit those from which this role wants to read.

        The broker may take long to answer, and assign anew meanwhile: one assignment begins after the other, and one
        that is over by then is none.
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
        """Nothing may leave the agent's body or a commit: Faust would acknowledge and lose what was in hand."""
        try:
            return await call(*given)
        except StreamwiseError as error:
            end_process(str(error))
        except Exception as error:  # the one place: an error nobody foresaw
            log.exception("in %s", call.__qualname__)
            end_process(f"{call.__qualname__}: {type(error).__name__}: {error}")
