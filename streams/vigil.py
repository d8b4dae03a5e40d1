"""What the watchdog of a worker looks at: its steps, and what waits at each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.kafka.broker_probe import BrokerProbe
from streams.supervision.watchdog import LONGER, Watch

if TYPE_CHECKING:
    from .processor import Processor

FOLD_PATIENCE = 1.5  # whatever stands still keeps events from being folded: the other steps are named first


class Vigil:
    """The watches over a processor. Everything is read from the watchdog's thread, nothing is changed."""

    def __init__(self, processor: Processor, probe: BrokerProbe) -> None:
        self._processor, self._probe = processor, probe

    def watches(self) -> list[Watch]:
        """The more a step has its own cause, the earlier it stands."""
        return [
            Watch(self.committing), Watch(self.restoring, LONGER), Watch(self.fetching),
            Watch(self.folding, FOLD_PATIENCE),
        ]  # fmt: skip

    def committing(self) -> dict[str, object]:
        """The step of a cycle under way; between two while events wait, the next one."""
        cycle, outputs = self._processor.cycle, self._processor.outputs
        if cycle.step:
            return {cycle.step: (cycle.cycles, outputs.pending, self._processor.log.pending)}
        return {"commit cycle": cycle.cycles} if self._processor.table.recovered and self._lag() else {}

    def restoring(self) -> dict[str, object]:
        """Until rows are restored: how far the changelog is read, and which assignment it is for."""
        table, app = self._processor.table, self._processor.app
        if table.recovered:
            return {}
        read = sum(restorer.rows + restorer.offset for restorer in list(table._restorers.values()))
        step = "restoring" if table.assignment == app.rebalancing_count else "assignment"
        return {step: (app.rebalancing_count, read)}

    def fetching(self) -> dict[str, object]:
        """Each partition that the broker has more of, unless enough of it lies here."""
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
        """Events that have been appended, however far they came."""
        counters = self._processor.engine.counters
        if not self._processor.table.recovered or not self._lag():
            return {}
        return {"fold": (counters.events, counters.batches, counters.dead_letters)}

    def _lag(self) -> int:
        return sum(self._processor.engine.lag().values())
