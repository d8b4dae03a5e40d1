"""Step 8: the commit cycle. Outputs first, then changed rows, then the source offsets; each only when the one
before it is acknowledged. See docs/ARCHITECTURE.md, "Nothing lost, nothing twice"."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from .changelog import Changelog
from .engine import Engine
from .failpoints import Points, reached
from .pacing import Pace
from .partition import Partition

CONTROL_KEY = b"\x00control"
ROWS_A_TURN = 2048  # written at a time: about a millisecond
LAYOUT_KEY = b"\x00layout:"  # followed by the layout's id in decimal digits


class RowFormat(Protocol):
    """How rows look in the changelog."""

    @property
    def layout_id(self) -> int:
        """Names the layout."""

    @property
    def description(self) -> bytes:
        """The layout in JSON, for who reads the rows later."""


class Adoption(Protocol):
    """What the pass has in force for a partition and what it would take up next (model snapshots, policies)."""

    def in_force(self, partition: Partition) -> dict[str, Any]:
        """Plain data that names what is in force now; kept in the control row."""

    def offered(self, partition: Partition) -> dict[str, Any]:
        """Plain data that names what will be in force after this cycle."""

    def adopt(self, partition: Partition, offered: dict[str, Any]) -> None:
        """Put what was offered in force."""


@dataclass(slots=True)
class _Share:
    """One partition's part of a cycle: offsets to commit, changed slots, keys that are gone, the control row, what
    comes in force."""

    partition: Partition
    offsets: dict[tuple[str, int], int]
    changed: Any
    gone: list[bytes]
    control: bytes
    proposal: dict[str, Any]


class CommitCycle:
    """Makes what the engine did durable. `failpoints[name]()` is called between its steps, for tests."""

    STEPS = ("outputs", "rows", "control", "offsets", "adopted")

    def __init__(
        self,
        engine: Engine,
        rows: RowFormat,
        adoption: Adoption,
        log: Changelog,
    ) -> None:
        self._engine, self._rows, self._adoption = engine, rows, adoption
        self._log = log
        self.spread_s = 0.0  # rows are written over this time, so that fetches and alerts hardly notice
        self.hurried: Callable[[], bool] = lambda: False
        self.failpoints: Points = {}
        self._committed: dict[tuple[str, int], int] = {}
        self.changelog_offsets: dict[int, int] = {}
        self.controls: dict[int, bytes] = {}  # the control row at that offset
        self.last_s = 0.0
        self.cycles = 0
        self.rows = 0  # of the cycle under way or the last one
        self.step = ""  # what a cycle under way waits for
        self.completed_at = time.monotonic()

    async def run(self, commit: Callable[[Mapping[tuple[str, int], int]], Awaitable[bool]]) -> bool:
        """One cycle over all live partitions; `commit` gets {(topic, partition): next offset}."""
        started = time.monotonic()
        engine = self._engine
        self.step = "outputs acknowledged"
        work = self._shares()
        self.rows = sum(len(share.changed) for share in work)
        await engine.outputs.settled(engine.outputs.begin_epoch())  # 1. every output produced so far
        reached(self.failpoints, "outputs")
        self.step = "rows written"
        pace = Pace(self.rows, self.spread_s, self.hurried)
        for share in work:  # 2. rows, then the control row
            await self._write_rows(share, pace)
        reached(self.failpoints, "rows")
        for share in work:
            self._write_control(share)
        self.step = "rows acknowledged"
        await self._log.settled()
        reached(self.failpoints, "control")
        merged = {at: offset for share in work for at, offset in share.offsets.items()}
        self.step = "offsets committed"
        done = await commit(merged) if merged else True  # 3. the source offsets
        if done:
            self._committed.update(merged)
        reached(self.failpoints, "offsets")
        for share in work:
            self._adoption.adopt(share.partition, share.proposal)
        reached(self.failpoints, "adopted")
        if engine.held:
            engine.held = False
            for partition in engine.partitions.values():
                if partition.live:
                    engine.fold(partition)
        self.step = ""
        self.completed_at = time.monotonic()
        self.last_s = self.completed_at - started
        self.cycles += 1
        return bool(merged) and done

    def _shares(self) -> list[_Share]:
        """What each live partition has to make durable, as of now."""
        engine, adoption = self._engine, self._adoption
        work = []
        for partition in engine.partitions.values():
            if not partition.live:
                continue
            offsets = self._offsets(partition)
            changed = partition.take_changed()
            gone = partition.expire(engine.work.expire_after_ms)
            if not offsets and not len(changed) and not gone:
                continue
            in_force = adoption.in_force(partition)
            # What may be replayed is scored as it was the first time: its outputs have one content.
            proposal = adoption.offered(partition) if partition.caught_up else in_force
            # What is folded from here on is replayed with what this cycle puts in force, so it must be folded with it.
            engine.held = engine.held or proposal != in_force
            control = self._control(partition, offsets, proposal)
            work.append(_Share(partition, offsets, changed, gone, control, proposal))
        return work

    def forget(self, number: int) -> None:
        """The partition is not ours any more; what was committed for it may move on elsewhere."""
        for at in [at for at in self._committed if at[1] == number]:
            del self._committed[at]
        self.changelog_offsets.pop(number, None)
        self.controls.pop(number, None)

    def _offsets(self, partition: Partition) -> dict[tuple[str, int], int]:
        """What may be committed and is not yet."""
        found = {}
        for which, topic in enumerate(self._engine.sources):
            offset = partition.committable(which)
            at = (topic, partition.number)
            if offset >= 0 and self._committed.get(at, -1) < offset:
                found[at] = offset
        return found

    async def _write_rows(self, share: _Share, pace: Pace) -> None:
        """Write the changed rows as they stood when the cycle began, packed some at a time."""
        partition, log, layout_id = share.partition, self._log, self._rows.layout_id
        if layout_id not in partition.known_layouts:
            key = LAYOUT_KEY + str(layout_id).encode()
            log.send(partition.number, [{"key": key, "value": self._rows.description}])
            partition.known_layouts.add(layout_id)
        log.send(partition.number, [{"key": key, "value": None} for key in share.gone])
        left = share.changed
        while len(left):  # some at a time, so that the event loop is never held for long
            batch = partition.records(left[: min(pace.due(), ROWS_A_TURN)], layout_id)
            left = left[batch.record_count() :]
            await log.send_rows(partition.number, batch)
            await pace.turn(batch.record_count())

    def _control(
        self, partition: Partition, offsets: Mapping[tuple[str, int], int], proposal: dict[str, Any]
    ) -> bytes:
        watermark, highest = partition.clocks.tolist()
        return orjson.dumps(
            {
                "offsets": {topic: offset for (topic, _), offset in offsets.items()},
                "clocks": [watermark, highest] if highest > float("-inf") else None,
                "in_force": self._adoption.in_force(partition),
                "next": proposal,
                "layout": self._rows.layout_id,
            }
        )

    def _write_control(self, share: _Share) -> None:
        partition, control = share.partition, share.control

        def landed(offset: int) -> None:
            self.changelog_offsets[partition.number] = offset
            self.controls[partition.number] = control

        self._log.send_one(partition.number, CONTROL_KEY, control, landed)


def read_control(value: bytes) -> dict[str, Any]:
    """A control row's content."""
    control = orjson.loads(value)
    return control if isinstance(control, dict) else {}
