"""Rows as a Faust table: Faust's changelog, standbys, recovery and rebalances, with arrays in place of a dict."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
from faust.types.tuples import TP

from streams.batches import RawBatch
from streams.engine import Engine
from streams.errors import Fatal, StreamwiseError
from streams.supervision import end_process

from . import local_rows as local
from .changelog import FencedChangelog
from .commit_cycle import CommitCycle
from .control_row import RowFormat
from .restorer import Mover, Restorer

log = logging.getLogger(__name__)


class RowTable(faust.Table):  # type: ignore[misc]
    """Restores partitions from the changelog, makes them live in the engine and takes them away again.

    Call `bind` before the app starts.
    """

    engine: Engine
    cycle: CommitCycle
    writer: FencedChangelog
    end: Callable[[str], None] = staticmethod(end_process)

    def bind(
        self, engine: Engine, cycle: CommitCycle, writer: FencedChangelog, rows: RowFormat,
        migration: Callable[[bytes], Mover], on_live: Callable[[int, dict[str, Any]], None],
    ) -> None:  # fmt: skip
        """Bind the table to an engine. It calls `on_live(partition, control)` when a partition is restored."""
        self.engine, self.cycle, self.writer = engine, cycle, writer
        self._make: Callable[[], Restorer] = lambda: Restorer(rows.layout_id, migration)
        self._on_live = on_live
        self._restorers: dict[int, Restorer] = {}
        self._local: tuple[Path, local.ChangelogIdentity] | None = None
        self._generation = -1
        self.recovered = False
        self.assignment = -1  # Faust's number of the rebalance whose partitions these are

    def keep_in(self, folder: Path, place: local.ChangelogIdentity) -> None:
        """Keep the rows of a stopped worker in `folder`, as those of `place`."""
        self._local = folder, place

    def save(self) -> int:
        """Write the rows of live partitions whose changes are all in the changelog to files; returns how many rows."""
        saved = 0
        if self._local is None:
            return saved
        folder, place = self._local
        for number, partition in self.engine.partitions.items():
            offset = self.cycle.changelog_offsets.get(number, -1)
            if partition.live and offset >= 0 and not partition.counts[0]:
                saved += local.save(folder, partition, place, offset, self.cycle.controls[number])
        return saved

    def _take_local(self, number: int) -> None:
        if self._local is None or number in self._restorers or number in self.engine.partitions:
            return
        folder, place = self._local
        found = local.load(folder, self.engine.partition(number), place)
        if found is not None:
            restorer = self.restorer(number)
            restorer.offset, restorer.control, restorer.rows = found

    def restorer(self, number: int) -> Restorer:
        """Return the partition's restorer; make it when it is new."""
        return self._restorers.setdefault(number, self._make())

    def persisted_offset(self, tp: TP) -> int:
        """Return the changelog offset up to which these rows go, so that a rebalance does not read it again.

        -1 means none; None would let Faust go on where an earlier recovery had ended.
        """
        self._take_local(tp.partition)
        own = self.cycle.changelog_offsets.get(tp.partition, -1)
        return max(own, self._restorers[tp.partition].offset if tp.partition in self._restorers else -1)

    def apply_changelog_batch(self, batch: Any) -> None:
        for event in batch:
            message = event.message
            try:
                self._apply(message.partition, message.value)
            except StreamwiseError as error:  # Faust would log it, go on and lose those rows
                self.end(str(error))
            except Exception as error:  # the same holds for an unforeseen error
                log.exception("while restoring %s[%s]@%s", message.topic, message.partition, message.offset)
                at = f"{message.topic}[{message.partition}]@{message.offset}"
                self.end(f"{at}: {type(error).__name__}: {error}")

    def _apply(self, number: int, batch: RawBatch) -> None:
        if batch.error:
            raise Fatal(
                f"changelog partition {number} at offset {batch.base_offset} is damaged ({batch.error}); "
                "restore it from a backup, or delete the topic to start anew"
            )
        partition = self.engine.partition(number)
        if not partition.live:  # the rows of a live partition are newer than those in its changelog
            self.restorer(number).apply(partition, batch)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        assignor, name = self.app.assignor, self.changelog_topic_name
        actives = {tp.partition for tp in assignor.assigned_actives() if tp.topic == name}
        standbys = {tp.partition for tp in assignor.assigned_standbys() if tp.topic == name}
        # A worker that was in the generation before this one is the last that folded the partitions it held. Otherwise
        # the group went on without it, and another worker may have folded them: the table reads their rows again.
        followed, self._generation = generation_id == self._generation + 1, generation_id
        for number in list(self.engine.partitions):
            partition = self.engine.partitions[number]
            partition.reset_inbox()  # events not folded yet are fetched again from the committed offsets
            if partition.live and not followed:
                self._drop(number)
            elif number in actives:
                continue
            elif number in standbys and partition.live:
                partition.live = False
                self.restorer(number).offset = self.cycle.changelog_offsets.get(number, -1)
                self.cycle.forget(number)
                self.writer.drop(number)
            elif number not in standbys:
                self._drop(number)
        self.recovered = False
        self.assignment = self.app.rebalancing_count
        try:
            # before Faust asks for the changelog's end: from here on nobody else appends to it
            await self.writer.take(actives)
        except StreamwiseError as error:
            end_process(str(error))
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    def _drop(self, number: int) -> None:
        """Forget a partition and its rows."""
        del self.engine.partitions[number]
        self._restorers.pop(number, None)
        self.cycle.forget(number)
        self.writer.drop(number)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        await super().on_recovery_completed(active_tps, standby_tps)
        await self.app.before_live({tp.partition for tp in active_tps})
        for tp in active_tps:
            partition = self.engine.partition(tp.partition)
            if not partition.live:
                control = self.restorer(tp.partition).control
                self.cycle.resume(partition, control)
                partition.activate(taken_over=bool(control))
                self._on_live(tp.partition, control)
        if active_tps:
            await self.app.consumer.pause_in_client(active_tps)
        self.recovered = True
