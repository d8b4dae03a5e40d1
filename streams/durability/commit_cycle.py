"""Step 8: the commit cycle makes outputs durable, then changed rows, then the source offsets.

Each part waits for the acknowledgement of the one before it. See docs/ARCHITECTURE.md, "Nothing lost, nothing twice".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from streams.engine import Cutover, Engine, Partition
from streams.supervision import Points, reached

from .changelog import Changelog
from .control_row import CONTROL_KEY, LAYOUT_KEY, Adoption, RowFormat
from .pacing import Pace, spread

ROWS_A_TURN = 2048  # written without a pause: about a millisecond
LEAD_S = 0.5  # a write to the changelog takes less, unless the broker is slow
TURN_LOOK_S = 0.005


@dataclass(slots=True)
class _Share:
    """One partition's part of a cycle: offsets to commit, changed slots, expired keys, the control row."""

    partition: Partition
    offsets: dict[tuple[str, int], int]
    changed: Any
    gone: list[bytes]
    control: dict[str, Any]


_PendingCutover = tuple[Partition, dict[str, Any]]  # a partition, and what comes into force there


class CommitCycle:
    """Makes the engine's results durable. Between its steps it calls `failpoints[name]()`, for tests."""

    STEPS = ("announced", "adopted", "outputs", "rows", "control", "offsets")

    def __init__(
        self,
        engine: Engine,
        rows: RowFormat,
        adoption: Adoption,
        log: Changelog,
    ) -> None:
        self._engine, self._rows, self._adoption = engine, rows, adoption
        engine.on_cutover = adoption.adopt
        self._log = log
        self.lead_s = LEAD_S
        self.spread_s = 0.0  # the least time to write rows over, so that they hardly delay fetches and alerts
        self.hurried: Callable[[], bool] = lambda: False
        self.failpoints: Points = {}
        self._committed: dict[tuple[str, int], int] = {}
        # by partition: when the last cycle began, and the offsets that were folded then
        self._began: dict[int, tuple[float, Any]] = {}
        self._forgotten: set[int] = set()  # partitions that went away during the current cycle
        self.changelog_offsets: dict[int, int] = {}
        self.controls: dict[int, bytes] = {}  # the control row at that offset
        self.last_s = 0.0
        self.cycles = 0
        self.rows = 0  # of the current or the last cycle
        self.step = ""  # what the current cycle waits for
        self.completed_at = time.monotonic()

    async def run(self, commit: Callable[[Mapping[tuple[str, int], int]], Awaitable[bool]]) -> bool:
        """Run one cycle over all live partitions; `commit` gets {(topic, partition): next offset}."""
        started = time.monotonic()
        engine = self._engine
        self._forgotten.clear()
        await self._cut_over()
        self._forgotten.clear()
        self.step = "outputs acknowledged"
        work = self._shares()
        self.rows = sum(len(share.changed) for share in work)
        await engine.outputs.settled(engine.outputs.begin_epoch())  # 1. every output produced so far
        reached(self.failpoints, "outputs")
        self.step = "rows written"
        pace = Pace(self.rows, spread(self.rows, self.spread_s), self.hurried)
        for share in work:  # 2. rows, then the control row
            await self._write_rows(share, pace)
        reached(self.failpoints, "rows")
        for share in work:
            if share.partition.number not in self._forgotten:
                self._write_control(share.partition, share.control)
        self.step = "rows acknowledged"
        await self._log.settled()
        reached(self.failpoints, "control")
        # a partition that went away meanwhile had its rows rolled back, even if it has come back since
        merged = {
            at: offset
            for share in work
            for at, offset in share.offsets.items()
            if at[1] not in self._forgotten
        }
        self.step = "offsets committed"
        done = await commit(merged) if merged else True  # 3. the source offsets
        if done:
            held = {at: offset for at, offset in merged.items() if at[1] not in self._forgotten}
            self._committed.update(held)
        reached(self.failpoints, "offsets")
        self.step = ""
        self.completed_at = time.monotonic()
        self.last_s = self.completed_at - started
        self.cycles += 1
        return bool(merged) and done

    async def _cut_over(self) -> None:
        """Bring what is offered into force at offsets that the changelog records, so that a replay does the same.

        The offsets lie ahead by about the events that come while the changelog is written, so that no event waits for
        the cutover. Where events come more slowly than expected, a second cutover is recorded at the offsets reached.
        """
        turning = [
            (partition, following)
            for partition in self._live()
            if (following := self._following(partition)) is not None
        ]
        if turning:
            await self._announce(turning, self.lead_s)
        reached(self.failpoints, "announced")
        until = time.monotonic() + self.lead_s
        while (late := self._pending_cutovers(turning)) and time.monotonic() < until and not self.hurried():
            self.step = "cutover reached"
            await asyncio.sleep(TURN_LOOK_S)
        late = [(partition, following) for partition, following in late if partition.caught_up]
        if late:
            await self._announce(late, 0.0)
        reached(self.failpoints, "adopted")

    def _following(self, partition: Partition) -> dict[str, Any] | None:
        """Return what should come into force for a partition; None for nothing, or when it may not cut over now."""
        if not partition.caught_up:  # a replay scores events as before: an output keeps its content
            return None
        if partition.cutover is not None:
            return partition.cutover.following
        offered = self._adoption.offered(partition)
        # a control row has room for one cutover: the last one stays there until the cycle after it is complete
        if offered == self._adoption.in_force(partition) or "turn" in partition.control:
            return None
        return offered

    def _pending_cutovers(self, named: list[_PendingCutover]) -> list[_PendingCutover]:
        """Return the partitions of `named` that are still held and have not reached their cutover."""
        engine = self._engine
        return [
            (partition, following)
            for partition, following in named
            if partition.cutover is not None and partition.live
            and engine.partitions.get(partition.number) is partition and partition.number not in self._forgotten
        ]  # fmt: skip

    async def _announce(self, turning: list[_PendingCutover], lead_s: float) -> None:
        """Record in the changelog that each partition cuts over where it will be in `lead_s`, then allow it."""
        self.step = "cutover acknowledged"
        for partition, following in turning:
            offsets = partition.folded + self._coming(partition, 0.0 if self.hurried() else lead_s)
            partition.cutover = Cutover(offsets, following, settled=False)
            before = partition.control or self._control(partition, {}, None)
            self._write_control(partition, {**before, "turn": self._named(partition.cutover)})
        await self._log.settled()
        for partition, _ in self._pending_cutovers(turning):
            assert partition.cutover is not None
            partition.cutover = partition.cutover._replace(settled=True)
            self._engine.fold(partition)

    def _coming(self, partition: Partition, lead_s: float) -> Any:
        """Estimate how many events of each topic come in `lead_s` (int64[topics]), from those of the last cycle.

        The busiest topic should reach the cutover last. Of the others it takes a count that is almost sure to come:
        three standard deviations of a Poisson count less.
        """
        began_s, folded = self._began.get(partition.number, (0.0, partition.folded))
        count = np.maximum(0, partition.folded - folded) * (lead_s / (time.monotonic() - began_s))
        sure = np.maximum(0.0, count - 3.0 * np.sqrt(count))
        return np.where(count == count.max(), count, sure).astype(np.int64)

    def resume(self, partition: Partition, control: dict[str, Any]) -> None:
        """Take the watermark and the cutover from a control row.

        The partition's ends are known by now; the caller then brings into force what the row names. A cutover
        beyond the end of a topic (one that was deleted and created again) moves to its end.
        """
        partition.control, partition.cutover = control, None
        clocks, turn = control.get("clocks"), control.get("turn")
        if clocks:
            partition.clocks[:] = clocks
        if turn:
            at = np.array([turn["at"].get(topic, -1) for topic in self._engine.sources], np.int64)
            partition.cutover = Cutover(np.minimum(at, partition.ends), turn["next"])

    def _live(self) -> list[Partition]:
        return [partition for partition in self._engine.partitions.values() if partition.live]

    def _shares(self) -> list[_Share]:
        """Take from each live partition what it has to make durable, as of now."""
        work = []
        self._began.clear()
        for partition in self._live():
            self._began[partition.number] = time.monotonic(), partition.folded
            offsets = self._offsets(partition)
            changed = partition.take_changed()
            gone = partition.expire(self._engine.work.expire_after_ms)
            if not offsets and not len(changed) and not gone:
                continue
            control = self._control(partition, offsets, partition.clocks.tolist())
            work.append(_Share(partition, offsets, changed, gone, control))
        return work

    def forget(self, number: int) -> None:
        """Forget a partition that another worker may take and commit.

        The current cycle writes and commits nothing more of it, even when it comes back before the cycle ends.
        """
        self._forgotten.add(number)
        for at in [at for at in self._committed if at[1] == number]:
            del self._committed[at]
        self._began.pop(number, None)
        self.changelog_offsets.pop(number, None)
        self.controls.pop(number, None)

    def _offsets(self, partition: Partition) -> dict[tuple[str, int], int]:
        """Return the offsets that may be committed and are not yet."""
        found = {}
        for which, topic in enumerate(self._engine.sources):
            offset = partition.committable(which)
            at = (topic, partition.number)
            if offset >= 0 and self._committed.get(at, -1) < offset:
                found[at] = offset
        return found

    async def _write_rows(self, share: _Share, pace: Pace) -> None:
        """Write the changed rows as they were when the cycle began, packed some at a time."""
        partition, log, layout_id = share.partition, self._log, self._rows.layout_id
        if partition.number not in self._forgotten:
            if layout_id not in partition.known_layouts:
                key = LAYOUT_KEY + str(layout_id).encode()
                log.send(partition.number, [{"key": key, "value": self._rows.description}])
                partition.known_layouts.add(layout_id)
            log.send(partition.number, [{"key": key, "value": None} for key in share.gone])
        left = share.changed
        while len(left):  # some at a time, so as not to block the event loop for long
            batch = partition.records(left[: min(pace.due(), ROWS_A_TURN)], layout_id)
            left = left[batch.record_count() :]
            if partition.number not in self._forgotten:  # else the rows are only released
                await log.send_rows(partition.number, batch)
            await pace.turn(batch.record_count())

    def _control(
        self, partition: Partition, offsets: Mapping[tuple[str, int], int], clocks: list[float] | None
    ) -> dict[str, Any]:
        """Return a control row's content: what is in force, and the cutover that a replay has not reached yet."""
        in_force = self._adoption.in_force(partition)
        control = {
            "offsets": {topic: offset for (topic, _), offset in offsets.items()},
            "clocks": clocks if clocks and clocks[1] > float("-inf") else None,
            "in_force": in_force,
            "next": in_force,
            "layout": self._rows.layout_id,
        }
        if partition.cutover is not None:
            control["turn"] = self._named(partition.cutover)
        return control

    def _named(self, turn: Cutover) -> dict[str, Any]:
        """Return a cutover as a control row holds it."""
        at = dict(zip(self._engine.sources, turn.offsets.tolist(), strict=True))
        return {"at": at, "next": turn.following}

    def _write_control(self, partition: Partition, control: dict[str, Any]) -> None:
        partition.control = control
        written = orjson.dumps(control)

        def landed(offset: int) -> None:
            if self._engine.partitions.get(partition.number) is partition and partition.live:
                self.changelog_offsets[partition.number] = offset
                self.controls[partition.number] = written

        self._log.send_one(partition.number, CONTROL_KEY, written, landed)
