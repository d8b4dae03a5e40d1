"""Runs a pass on Faust: wires engine, row table, commit cycle and app. The worker and the benches use it."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faust
from faust.types.tuples import TP

from streams.batches import DecodeAhead
from streams.durability import (
    Adoption,
    ChangelogIdentity,
    CommitCycle,
    FencedChangelog,
    Mover,
    RowFormat,
    RowTable,
)
from streams.engine import Engine, Partition, Pass
from streams.kafka import BrokerProbe, Kafka, Outputs, librdkafka_settings, topic_id
from streams.kernels import give_back, keep_memory
from streams.supervision import LONGER, Functions, Watch, end_process, guarded
from streams.transport import COMMIT_INTERVAL_S, App, Consumer, make_app

TICK_S = 0.25
GIVE_BACK_S = 60.0
WHOLE_BYTES = 384 << 20  # at least this much of all partitions' rows stays whole (unpacked),
ROWS_BYTES = 2560 << 20  # and more while whole and packed rows take less than this (`streams.state.rows`)
BUFFERED_FETCHES = 4  # fetches that wait for the agent
SPREAD = 0.5  # a commit cycle spreads its rows over this share of the commit interval


async def _nothing() -> None:
    return None


class Processor:
    """Consumes `sources`, runs `work` over them and keeps its rows in `changelog`.

    It awaits `prepare` before restored rows go live and calls `on_live(partition, control)` when they do,
    `on_batch(seconds)` after the pass over each fetch and `on_cycle(seconds)` after each commit cycle.
    Everything runs in the app's event loop.
    """

    def __init__(
        self,
        group: str,
        bootstrap: Kafka,
        sources: Sequence[str],
        work: Pass,
        *,
        rows: RowFormat,
        adoption: Adoption,
        migration: Callable[[bytes], Mover],
        changelog: str,
        partitions: int,
        standbys: int = 0,
        datadir: str = ".streamwise/faust",
        commit_interval_s: float = COMMIT_INTERVAL_S,
        prepare: Callable[[], Awaitable[None]] = _nothing,
        on_live: Callable[[int, dict[str, Any]], None] = lambda number, control: None,
        on_batch: Callable[[float], None] = lambda seconds: None,
        on_cycle: Callable[[float], None] = lambda seconds: None,
        **engine_settings: Any,
    ) -> None:
        keep_memory()
        self.sources = list(sources)
        Path(datadir).mkdir(parents=True, exist_ok=True)
        self.outputs = Outputs(librdkafka_settings(bootstrap))
        self.app: App = make_app(
            group, bootstrap, partitions=partitions, standbys=standbys, commit_interval_s=commit_interval_s,
            datadir=datadir, stream_buffer_maxsize=BUFFERED_FETCHES,
        )  # fmt: skip
        places = WHOLE_BYTES // work.default_row.nbytes // partitions
        self.engine = Engine(
            self.sources,
            work,
            self.outputs,
            places=places,
            rows_bytes=ROWS_BYTES // partitions,
            **engine_settings,
        )
        self.log = FencedChangelog(changelog, group, bootstrap)
        self.cycle = CommitCycle(self.engine, rows, adoption, self.log)
        self.cycle.spread_s = commit_interval_s * SPREAD
        self.cycle.hurried = lambda: self.app.hurried or self.app.should_stop
        self._prepare, self._on_batch, self._on_cycle = prepare, on_batch, on_cycle
        self.table = self._table(changelog, partitions)
        self.table.bind(self.engine, self.cycle, self.log, rows, migration, on_live)
        topic = topic_id(bootstrap, changelog)
        if topic is not None:
            self.table.keep_in(Path(datadir) / "rows", ChangelogIdentity(topic, rows.layout_id))
        self._agent()
        self.app.committer = self._commit
        self.app.backlog = lambda tp: self.engine.full(tp.topic, tp.partition)
        self.app.before_live = self._before_live
        self.app.fetched = DecodeAhead(self.engine.prepare).give
        self.app.bundled = frozenset(self.sources)

    def _table(self, changelog: str, partitions: int) -> RowTable:
        raw = faust.Schema(key_serializer="raw", value_serializer="raw")
        topic = self.app.topic(
            changelog, key_serializer="raw", value_serializer="raw", partitions=partitions, compacting=True
        )
        table = RowTable(
            self.app, name="rows", key_type=bytes, value_type=bytes, schema=raw, changelog_topic=topic,
            partitions=partitions, recovery_buffer_size=1, standby_buffer_size=1,
        )  # fmt: skip
        self.app.tables.add(table)
        return table

    def _agent(self) -> None:
        source = self.app.topic(*self.sources, key_serializer="raw", value_serializer="raw")

        @self.app.agent(source, name="fold")
        async def fold(stream: Any) -> None:
            await guarded(stream.events(), self._on_message)

        @self.app.timer(TICK_S)
        async def tick() -> None:
            self.engine.tick()
            self.outputs.poll()

        @self.app.timer(GIVE_BACK_S)
        async def trim() -> None:
            give_back()

    def watches(self, probe: BrokerProbe) -> list[Watch]:
        """Return the watches for a watchdog, which calls them from its own thread: the steps and what waits there."""
        return ProcessorWatches(self, probe).watches()

    def _on_message(self, message: Any) -> None:
        began = time.perf_counter()
        self.engine.on_bundle(message.value.batches, message.value.ends)
        self._on_batch(time.perf_counter() - began)

    async def _commit(self, consumer: Consumer) -> bool:
        async def commit(offsets: Mapping[tuple[str, int], int]) -> bool:
            return await consumer.commit_offsets({TP(*at): offset for at, offset in offsets.items()})

        try:
            done = await self.cycle.run(commit)
        except Exception as error:  # no commit may follow a failed cycle: the process ends
            end_process(f"commit cycle: {error}")
            raise
        self._on_cycle(self.cycle.last_s)
        return done

    async def _before_live(self, active: set[int]) -> None:
        """Ask for positions and ends before rows go live, so that no topic is taken for an empty one."""
        await self._prepare()
        gc.freeze()  # modules and compiled code stay: a full collection of them would stop everything for 0.2 s
        bounds = await self.app.consumer.bounds({TP(topic, n) for topic in self.sources for n in active})
        for tp, (position, end) in bounds.items():
            partition = self.engine.partition(tp.partition)
            which = self.sources.index(tp.topic)
            partition.positions[which], partition.ends[which] = position, end
            # the topic may have been deleted and created again
            partition.frontier[which] = min(partition.frontier[which], end)


COMMITTING: Functions = {
    Outputs.send: "outputs queued",
    Partition.take_changed: "rows written",
    CommitCycle._write_rows: "rows written",
}
FOLDING: Functions = {
    Engine.prepare: "decode",
    Engine.receive: "decode",
    Engine.on_bundle: "fold",
    Engine.fold: "fold",
    Engine.raise_watermark: "fold",
}
FOLD_PATIENCE = 1.5  # any step that stalls also stalls the fold: the watchdog names the other steps first


class ProcessorWatches:
    """The watches over a processor. They run in the watchdog's thread and only read."""

    def __init__(self, processor: Processor, probe: BrokerProbe) -> None:
        self._processor, self._probe = processor, probe

    def watches(self) -> list[Watch]:
        """Return the steps in order: one that may stall by itself stands before one that only waits for it."""
        return [
            Watch(self.committing, functions=COMMITTING),
            Watch(self.restoring, LONGER, {RowTable.apply_changelog_batch: "restoring"}),
            Watch(self.fetching),
            Watch(self.folding, FOLD_PATIENCE, FOLDING),
        ]

    def committing(self) -> dict[str, object]:
        """Return the current step of a running cycle; between two cycles the next cycle, while events wait."""
        cycle, outputs = self._processor.cycle, self._processor.outputs
        if cycle.step:
            return {cycle.step: (cycle.cycles, outputs.pending, self._processor.log.pending)}
        return {"commit cycle": cycle.cycles} if self._processor.table.recovered and self._lag() else {}

    def restoring(self) -> dict[str, object]:
        """Return how far the changelog is read and for which assignment, until the rows are restored."""
        table, app = self._processor.table, self._processor.app
        if table.recovered:
            return {}
        read = sum(restorer.rows + restorer.offset for restorer in list(table._restorers.values()))
        step = "restoring" if table.assignment == app.rebalancing_count else "assignment"
        return {step: (app.rebalancing_count, read)}

    def fetching(self) -> dict[str, object]:
        """Return the position of each partition with more records at the broker, unless its backlog here is full."""
        engine = self._processor.engine
        if not self._processor.table.recovered:
            return {}
        found = {
            (topic, partition.number): int(partition.positions[which])
            for partition in list(engine.partitions.values())
            if partition.live
            for which, topic in enumerate(engine.sources)
            if partition.positions[which] >= 0 and not engine.full(topic, partition.number)
        }
        ends = self._probe.ends(found)
        return {
            f"fetch of {topic}[{number}]": position
            for (topic, number), position in found.items()
            if ends.get((topic, number), -1) > position
        }

    def folding(self) -> dict[str, object]:
        """Return the progress of the fold, while any appended event is not folded."""
        counters = self._processor.engine.counters
        if not self._processor.table.recovered or not self._lag():
            return {}
        return {"fold": (counters.events, counters.batches, counters.dead_letters)}

    def _lag(self) -> int:
        return sum(self._processor.engine.lag().values())
