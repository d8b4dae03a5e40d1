"""Known weaknesses of earlier engines, put back one at a time into a worker of the bench, which must report each.

The product does not know of them: these functions change a worker that exists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

Commit = Callable[[Mapping[tuple[str, int], int]], Awaitable[bool]]


def commit_before_flush(worker: Any) -> None:
    """Commit source offsets before rows and outputs."""
    cycle = worker.cycle
    run = cycle.run

    async def weak(commit: Commit) -> bool:
        offsets: dict[tuple[str, int], int] = {}
        for partition in worker.engine.partitions.values():
            if partition.live:
                offsets |= cycle._offsets(partition)
        if offsets:
            await commit(offsets)
        return bool(await run(commit))

    cycle.run = weak


def no_applied_offset(worker: Any) -> None:
    """Make restored rows forget which offsets were applied to them, so that replayed events count again."""
    on_live = worker.processor.table._on_live
    topics = len(worker.sources)

    def weak(number: int, control: dict[str, Any]) -> None:
        on_live(number, control)
        partition = worker.engine.partition(number)
        slots = partition.held_slots()
        rows = partition.rows.copy(slots)
        rows.view(np.int64)[:, 1 : 1 + topics] = -1
        rows[:, worker.work.layout.ring_at] = 0.0  # nor which message ids it has seen
        partition.rows.put_whole(slots, rows)

    worker.processor.table._on_live = weak


def changelog_before_outputs(worker: Any) -> None:
    """Make rows and offsets durable without waiting for their outputs."""
    outputs = worker.processor.outputs
    outputs._producer = type(outputs)(
        {"bootstrap.servers": worker.settings.kafka, "linger.ms": 2500}
    )._producer  # so that some outputs are always in transit

    async def settled(epoch: int) -> None:
        outputs.poll()

    outputs.settled = settled


def no_watchdog(worker: Any) -> None:
    """Let a worker that hangs keep its partitions for ever."""
    worker.watchdog.check = lambda: None


WEAKNESSES: dict[str, Callable[[Any], None]] = {
    "commit-before-flush": commit_before_flush,
    "no-applied-offset": no_applied_offset,
    "changelog-before-outputs": changelog_before_outputs,
    "no-watchdog": no_watchdog,
}
