"""The learner: step 10, second half. It learns each matured example once and publishes snapshots for the workers.

The commit, about every second: publish a snapshot of each model that changed, with its state and the offsets
applied to it; wait for the acknowledgements; commit the source offsets. After a crash the newest snapshots say
which offsets are applied, so that no example is lost and none is learned twice.

The learner drops an example whose id it has seen. To know the recent ids it starts reading a window of examples
before the first one wanted. Snapshots have one writer at any time (streams.durability.changelog).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faust.types.tuples import TP

import schemas
from agents.registry import snapshot_key
from agents.runtime import IntakeRole
from agents.topology import groups
from config.settings import Settings
from models.config import load_models
from models.evaluation import Period, PeriodFigures
from models.example import Example
from models.learning import Learned
from models.selection import Champion, Change
from schemas.topics import EXAMPLES, MODELS
from serving.monitoring import RoleStatus
from serving.views import Layouts
from streams.batches import RawBatch, records
from streams.durability import FencedChangelog
from streams.errors import Fatal, Poison
from streams.intake import WINDOW, Batches, Bounds, DeadLetters, RecentIds
from streams.supervision import STALL_S, Watch, reached

from .published import ModelSnapshots, partition_of, read_published, restore_family

GROUP = groups.LEARNER
log = logging.getLogger(__name__)

PUBLISH = "publish"
SLICE = 20  # examples (about a millisecond) before the event loop gets its turn
PUBLISH_EXAMPLES = 2000  # publish after so many at the latest; a busy learner does so several times a second
VERSIONS_KEPT = 20  # a worker that replays needs the versions that were recently in force


class LearnerRole(IntakeRole):
    """Takes training examples, and learns only while it has all partitions.

    Two learners would each learn a part of the examples and publish under the same versions.
    """

    NAME = "learner"
    POINTS = ("published", "acknowledged")  # snapshots are sent; they are acknowledged, offsets not committed

    def __init__(
        self,
        settings: Settings,
        *,
        group: str = GROUP,
        period: Period | None = None,
        wall_clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        stall_s: float = STALL_S,
    ) -> None:
        super().__init__(settings, group, [EXAMPLES], stall_s=stall_s)
        self.whole = False
        config = load_models(settings.config / "models.yaml")
        self.features, self.models = config.names, {model.name: model for model in config.models}
        self._wall_clock_ms = wall_clock_ms
        self.layouts = Layouts(settings.access)
        self.letters = DeadLetters(self.outputs)
        self.snapshots = FencedChangelog(MODELS, group, settings.access)
        self.families = {name: Champion.of(spec, self.features) for name, spec in self.models.items()}
        self.period = PeriodFigures(period or Period())
        self.taken = 0  # examples since the start of this process, those not yet due included
        self._applied: dict[tuple[str, str], dict[int, int]] = {}  # by model and learner
        # by the name that snapshots are published under
        self._published: dict[str, int] = {}  # examples that the newest snapshot has taken
        self._metrics: dict[str, dict[str, float]] = {}
        self._kept: dict[str, list[int]] = {}
        self._counted = Counter[tuple[str, str]]()
        self._seen = RecentIds()
        self._wanted: dict[TP, int] = {}  # learning begins here; of earlier examples only the ids are noted
        self.repeated = 0
        self._unpublished = 0

    # -- Taker -------------------------------------------------------------------------------------------

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """Resume from the newest snapshots, or from the first example if there are none."""
        self.whole = len(bounds) == self.settings.partitions
        if not self.whole:
            return {}
        await self._write_alone()
        loop = asyncio.get_running_loop()
        published = await loop.run_in_executor(None, read_published, self.settings.access, MODELS)
        earliest = await self.intake.earliest(bounds)
        starts = {tp: start if published else earliest[tp] for tp, (start, _) in bounds.items()}
        again = dict(starts)  # the earliest offsets of examples that learners must be given again
        for spec in self.models.values():
            family, restored = restore_family(published, spec, self.features)
            self._take_up(family, published)
            for name, (learner, applied, newest, _) in restored.items():
                _check_log(spec.name, applied, bounds)
                self._applied[spec.name, name] = {int(number): offset for number, offset in applied.items()}
                again = {
                    tp: min(first, learner.earliest.get(tp.partition, first)) for tp, first in again.items()
                }
                if not newest:  # learn the examples since this older snapshot again
                    starts = {
                        tp: min(start, applied.get(str(tp.partition), -1) + 1) for tp, start in starts.items()
                    }
        if gone := [str(tp.partition) for tp in starts if again[tp] < min(earliest[tp], starts[tp])]:
            log.warning(
                "%s, partitions %s: examples that are not due yet or that trees are refitted from are gone; keep the "
                "topic as long as the longest `within` of models.yaml", EXAMPLES, ", ".join(gone),
            )  # fmt: skip
        self._seen, self._wanted = RecentIds(), starts
        return {tp: max(earliest[tp], min(start - WINDOW, again[tp])) for tp, start in starts.items()}

    async def _write_alone(self) -> None:
        """Fence off any other learner, so that from here on the published snapshots are final."""
        numbers = {partition_of(name, self.settings.partitions) for name in self.models}
        for number in numbers:
            self.snapshots.drop(number)
        await self.snapshots.take(numbers)

    def _take_up(self, family: Champion, published: Mapping[str, ModelSnapshots]) -> None:
        self.families[family.model] = family
        for name, learner in family.learners.items():
            key = family.published_as(name)
            self._published[key], self._metrics[key] = learner.taken, learner.metrics()
        for key in (family.model, *(f"{family.model}@{name}" for name in family.learners)):
            self._kept[key] = sorted(published[key].versions) if key in published else []

    async def take(self, batches: Batches) -> None:
        """Learn the examples of a fetch, a slice at a time."""
        epoch = self.intake.epoch
        for tp, batch in batches:
            if self.intake.epoch == epoch:
                await self._take_batch(tp, batch, epoch)

    async def _take_batch(self, tp: TP, batch: RawBatch, epoch: int) -> None:
        try:
            found = records(batch)
        except Poison as error:
            self.letters.send(
                tp, batch.base_offset, str(error), "damaged batch", None, None, batch.append_time_ms
            )
            found = iter(())
        for number, (offset, key, value) in enumerate(found):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
                if self.intake.epoch != epoch:
                    return
            if offset >= self.intake.positions[tp]:
                self._take_one(tp, offset, key, value, batch.append_time_ms)
                self.intake.taken(tp, offset + 1, epoch)
        self.intake.taken(tp, batch.next_offset, epoch)
        if self._unpublished >= PUBLISH_EXAMPLES:
            await self.intake.commit()

    def _take_one(self, tp: TP, offset: int, key: bytes | None, value: bytes | None, time_ms: int) -> None:
        new = self._seen.add(tp.partition, value)
        before = offset < self._wanted.get(tp, 0)
        if before and not new:
            return
        try:
            if new:
                found = _decoded(value)
                if isinstance(found, Example):
                    self._learn(tp, offset, found, before)
                elif not before:
                    self._obey(tp, offset, found)
            else:
                self.repeated += 1
        except Poison as error:
            if not before:  # otherwise it is already a dead letter
                self.letters.send(tp, offset, str(error), "not a training example", key, value, time_ms)

    def _learn(self, tp: TP, offset: int, example: Example, before: bool) -> None:
        family = self.families.get(example.model)
        if family is None:
            raise Poison(f"example {example.id}: config/models.yaml declares no model {example.model}")
        example = self._named(example)
        learned = {}
        for name, learner in family.learners.items():
            if before or offset <= self._applied.get((family.model, name), {}).get(tp.partition, -1):
                if offset >= learner.earliest.get(tp.partition, offset + 1):
                    learner.recall(example, tp.partition, offset)
            else:
                learned[name] = learner.learn(example, tp.partition, offset)
        if learned:
            self.taken += 1
            self._unpublished += 1
            self._judge(family, learned)

    def _obey(self, tp: TP, offset: int, wish: Mapping[str, Any]) -> None:
        """Change a champion as a person asked."""
        family = self.families.get(wish["model"])
        if family is None:
            raise Poison(f"config/models.yaml declares no model {wish['model']}")
        if offset <= self._applied.get((family.model, family.champion), {}).get(tp.partition, -1):
            return
        try:
            change = family.promote(wish["to"], wish["id"]) if wish["to"] else family.roll_back(wish["id"])
        except ValueError as error:
            raise Poison(str(error)) from error
        self._tell(family, change)

    def _judge(self, family: Champion, learned: Mapping[str, Sequence[Learned]]) -> None:
        """Count the champion's scores in the period, and compare the challengers with it."""
        counted, new = (family.model, family.champion), learned.get(family.champion, ())
        if self.models[family.model].amount is not None:
            new = ()  # the period has figures for yes-or-no models only
        for number, (one, score) in enumerate(new, family.leader.examples - len(new)):
            if number >= self._counted[counted]:  # an example learned again after a rebalance counts once
                self.period.add(family.model, one, score)
                self._counted[counted] = number + 1
        if change := family.compare(learned):
            self._tell(family, change)

    def _tell(self, family: Champion, change: Change) -> None:
        """Log a new champion, and have both learners published again, since their names change."""
        log.warning("%s: %s replaces %s as champion: %s", family.model, change.to, change.out, change.why)
        for name in (change.out, change.to):
            self._published[family.published_as(name)] = -1

    def _named(self, example: Example) -> Example:
        """Return the example with its features in this learner's order; a worker of another version may differ."""
        if example.layout == 0:  # sent by a build that did not name the layout yet
            return example
        layout = self.layouts.get(example.layout)
        if layout is None or example.model not in layout.models:
            raise Poison(
                f"example {example.id}: nobody described layout {example.layout} with a model {example.model}"
            )
        return example.by_name(layout.models[example.model], self.features)

    async def commit(self) -> dict[TP, int]:
        """Publish the learners that changed; return the offsets that may be committed then."""
        if not (self.intake.assigned and self.whole):
            self.completed_at = time.monotonic()
            return {}
        positions = self.intake.positions
        offsets = {tp: max(position, self._wanted.get(tp, 0)) for tp, position in positions.items()}
        self._unpublished = 0
        for family in self.families.values():
            for name, learner in family.learners.items():
                if learner.taken != self._published[family.published_as(name)]:
                    self._publish(family, name, offsets)
        reached(self.failpoints, "published")
        with self.intake.steps(PUBLISH):
            await self.outputs.settled(self.outputs.begin_epoch())
            await self.snapshots.settled()
        reached(self.failpoints, "acknowledged")
        self.completed_at = time.monotonic()
        return offsets

    def _publish(self, family: Champion, name: str, offsets: dict[TP, int]) -> None:
        applied = {str(tp.partition): offset - 1 for tp, offset in offsets.items()}
        snapshot = family.snapshot(name, self._wall_clock_ms(), applied)
        key = snapshot.model
        kept = [*self._kept.get(key, ()), snapshot.version]
        old, self._kept[key] = kept[:-VERSIONS_KEPT], kept[-VERSIONS_KEPT:]
        value = schemas.encode("model_snapshot", snapshot.to_record())
        messages: list[dict[str, Any]] = [{"key": snapshot_key(key, snapshot.version), "value": value}]
        messages += [{"key": snapshot_key(key, version), "value": None} for version in old]
        self.snapshots.send(partition_of(family.model, self.settings.partitions), messages)
        self._published[key], self._metrics[key] = family.learners[name].taken, dict(snapshot.metrics)

    # -- figures -----------------------------------------------------------------------------------------

    def watches(self) -> list[Watch]:
        """Watch the snapshots and dead letters that are not acknowledged yet."""
        return [Watch(self._publishing, functions={Champion.snapshot: PUBLISH, self._take_one: "learn"})]

    def _publishing(self) -> dict[str, object]:
        return {PUBLISH: self.outputs.pending} if PUBLISH in self.intake.steps else {}

    def status(self) -> RoleStatus:
        """Return the figures for /status, /metrics and the page."""
        return {
            **super().status(),
            "dead_letters": dict(self.letters.reasons),
            "models": {
                name: {
                    "version": family.leader.version,
                    "examples": family.leader.examples,
                    "waiting": family.leader.waiting,
                    "drifts": family.leader.drifts,
                    "ignored": family.leader.ignored,
                    "auc": self._metrics.get(name, {}).get("auc"),
                    "log_loss": self._metrics.get(name, {}).get("log_loss"),
                }
                for name, family in list(self.families.items())
            },
            "taken": self.taken,
            "repeated": self.repeated,
            "period": self.period.figures(),
        }

    async def finish(self) -> None:
        """Let another learner publish."""
        await asyncio.get_running_loop().run_in_executor(None, self.snapshots.close)


def _check_log(model: str, applied: dict[str, int], bounds: Bounds) -> None:
    """Raise `Fatal` if a snapshot names an offset beyond the topic's end: it belongs to another topic."""
    for tp, (_, end) in bounds.items():
        held = applied.get(str(tp.partition), -1)
        if held >= end:
            raise Fatal(
                f"{tp.topic}[{tp.partition}] ends at offset {end}, but the snapshots of {model} hold offset {held}: "
                f"the topic was created anew, so create {MODELS} anew, too"
            )


def _decoded(value: bytes | None) -> Example | dict[str, Any]:
    """Decode the example in a record's value, or the request to change a champion; raise `Poison` if it is neither."""
    if value is None:
        raise Poison("a training example without a value")
    try:
        name, record = schemas.decode(value)
    except schemas.SchemaError as error:
        raise Poison(f"not a training example: {error}") from error
    if name == "model_change":
        return dict(record)
    if name != "training_example":
        raise Poison(f"not a training example but a {name}")
    return Example.from_record(record)
