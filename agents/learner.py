"""The learner: step 10, second half. Each matured example is learned once; snapshots go to the workers.

The commit, about every second: publish a snapshot of each model that changed, with its state and the offsets
applied to it; wait for the acknowledgements; commit the source offsets. After a crash the newest snapshots say
what is applied, so no example is lost and none is learned twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from faust.types.tuples import TP

import schemas
from config.settings import Settings
from models.config import load_models
from models.example import Example
from models.learner import Learner
from serving.status import RoleStatus
from streams.batch import RawBatch
from streams.errors import Fatal, Poison
from streams.outputs import Outputs
from streams.watchdog import Watchdog

from .groups import LEARNER as GROUP
from .intake import Batches, Bounds, Intake
from .letters import DeadLetters
from .period import Period, PeriodFigures
from .published import partition_of, read_published, snapshot_key
from .ready import announce
from .records import records
from .role import HttpPort, run_app
from .topics import EXAMPLES, MODELS

log = logging.getLogger(__name__)

SLICE = 20  # examples (about a millisecond) before the event loop gets its turn
PUBLISH_EXAMPLES = 2000  # at the latest; a busy learner publishes several times a second
VERSIONS_KEPT = 20  # a worker that replays needs those that were in force lately


class LearnerRole:
    """Implements `agents.intake.Taker` for training examples.

    Two learners would each learn a part and publish under the same versions: while partitions are missing
    here, nothing is learned.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        group: str = GROUP,
        period: Period | None = None,
        wall_clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self.settings = settings
        config = load_models(settings.config / "models.yaml")
        self.features, self.models = config.names, [model.name for model in config.models]
        self._wall_clock_ms = wall_clock_ms
        self.outputs = Outputs({"bootstrap.servers": settings.kafka, "log_level": 0})
        self.letters = DeadLetters(self.outputs)
        self.intake = Intake(
            group,
            settings.kafka,
            [EXAMPLES],
            self,
            partitions=settings.partitions,
            folder=settings.state / "learner",
        )
        self.learners: dict[str, Learner] = {name: Learner(name, self.features) for name in self.models}
        self.period = PeriodFigures(period or Period())
        self.whole = False
        self.learned = 0  # examples since the start of this process
        self._applied: dict[str, dict[int, int]] = {}
        self._published: dict[str, int] = {}  # examples that a model's newest snapshot holds
        self._metrics: dict[str, dict[str, float]] = {}
        self._kept: dict[str, list[int]] = {}
        self._counted: dict[TP, int] = {}
        self._unpublished = 0
        self._completed_at = time.monotonic()
        self.watchdog = Watchdog(
            lambda: sum(self.intake.lag().values()), lambda: self.learned, lambda: self._completed_at
        )
        self.http = HttpPort("learner", settings.host, settings.learner_port, self.status, self.ready)

    # -- Taker -------------------------------------------------------------------------------------------

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """Go on from the newest snapshots; without any, from the first example there is."""
        self.whole = len(bounds) == self.settings.partitions
        if not self.whole:
            return {}
        loop = asyncio.get_running_loop()
        published = await loop.run_in_executor(None, read_published, self.settings.kafka, MODELS)
        earliest = await self.intake.earliest(bounds) if not published else {}
        starts = {tp: earliest.get(tp, start) for tp, (start, _) in bounds.items()}
        for name in self.models:
            if name not in published:
                self._take_up(name, Learner(name, self.features), {}, [])
                continue
            learner, applied, newest = published[name].restore(name, self.features)
            _check_log(name, applied, bounds)
            self._take_up(
                name, learner, {int(n): o for n, o in applied.items()}, sorted(published[name].versions)
            )
            if not newest:  # examples between the two have to be learned again
                starts = {
                    tp: min(start, applied.get(str(tp.partition), -1) + 1) for tp, start in starts.items()
                }
        return starts

    def _take_up(self, name: str, learner: Learner, applied: dict[int, int], versions: list[int]) -> None:
        self.learners[name], self._applied[name] = learner, applied
        self._published[name], self._metrics[name] = learner.examples, learner.metrics()
        self._kept[name] = versions

    async def take(self, batches: Batches) -> None:
        """Learn what a fetch brought, a slice at a time."""
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
        try:
            self._learn(tp, offset, _example(value))
        except Poison as error:
            self.letters.send(tp, offset, str(error), "not a training example", key, value, time_ms)

    def _learn(self, tp: TP, offset: int, example: Example) -> None:
        learner = self.learners.get(example.model)
        if learner is None:
            raise Poison(f"example {example.id}: config/models.yaml declares no model {example.model}")
        if offset <= self._applied[example.model].get(tp.partition, -1):
            return
        score = learner.learn(example)
        self.learned += 1
        self._unpublished += 1
        if offset > self._counted.get(tp, -1):  # learned again after a rebalance, it counts once
            self.period.add(example, score)
            self._counted[tp] = offset

    async def commit(self) -> dict[TP, int]:
        """Publish what changed; then everything taken so far may be committed."""
        if not (self.intake.assigned and self.whole):
            self._completed_at = time.monotonic()
            return {}
        offsets = dict(self.intake.positions)
        self._unpublished = 0
        for name, learner in self.learners.items():
            if learner.examples != self._published[name]:
                self._publish(name, learner, offsets)
        await self.outputs.settled(self.outputs.begin_epoch())
        self._completed_at = time.monotonic()
        return offsets

    def _publish(self, name: str, learner: Learner, offsets: dict[TP, int]) -> None:
        applied = {str(tp.partition): offset - 1 for tp, offset in offsets.items()}
        snapshot = learner.snapshot(self._wall_clock_ms(), applied)
        kept = [*self._kept[name], snapshot.version]
        old, self._kept[name] = kept[:-VERSIONS_KEPT], kept[-VERSIONS_KEPT:]
        value = schemas.encode("model_snapshot", snapshot.to_record())
        messages: list[dict[str, Any]] = [{"key": snapshot_key(name, snapshot.version), "value": value}]
        messages += [{"key": snapshot_key(name, version), "value": None} for version in old]
        self.outputs.send(MODELS, messages, partition_of(name, self.settings.partitions))
        self._published[name], self._metrics[name] = learner.examples, dict(snapshot.metrics)

    # -- figures -----------------------------------------------------------------------------------------

    def ready(self) -> tuple[bool, str]:
        """Whether examples are learned."""
        if not self.intake.assigned:
            return False, "partitions are being assigned"
        if not self.whole:
            return False, "another learner is in the group: learning waits until one of them ends"
        return True, ""

    def status(self) -> RoleStatus:
        """Figures for /status, /metrics and the page."""
        return {
            "role": "learner",
            "lag": self.intake.lag(),
            "missed": self.intake.missed,
            "dead_letters": dict(self.letters.reasons),
            "commit_age_s": time.monotonic() - self._completed_at,
            "partitions": len(self.intake.positions),
            "models": {
                name: {
                    "version": learner.version,
                    "examples": learner.examples,
                    "auc": self._metrics.get(name, {}).get("auc"),
                    "log_loss": self._metrics.get(name, {}).get("log_loss"),
                }
                for name, learner in list(self.learners.items())
            },
            "learned": self.learned,
            "period": self.period.figures(),
        }

    # -- life --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Learn until stopped."""
        self.http.start()
        try:
            await run_app(self.intake.app, on_started=self._started)
        finally:
            self.watchdog.stop()
            self.http.stop()

    def _started(self) -> None:
        self.watchdog.start()
        self._telling = asyncio.ensure_future(
            announce("learner", self.ready, f"{self.settings.host}:{self.http.server.port}")
        )


def _check_log(model: str, applied: dict[str, int], bounds: Bounds) -> None:
    """Raise `Fatal` when a snapshot knows more examples than there are: its offsets mean nothing here."""
    for tp, (_, end) in bounds.items():
        held = applied.get(str(tp.partition), -1)
        if held >= end:
            raise Fatal(
                f"{tp.topic}[{tp.partition}] ends at offset {end}, but the snapshots of {model} hold offset {held}: "
                f"the topic was made anew, so make {MODELS} anew, too"
            )


def _example(value: bytes | None) -> Example:
    """The example in a record's value; raises `Poison` where there is none."""
    if value is None:
        raise Poison("a training example without a value")
    try:
        name, record = schemas.decode(value)
    except schemas.SchemaError as error:
        raise Poison(f"not a training example: {error}") from error
    if name != "training_example":
        raise Poison(f"not a training example but a {name}")
    return Example.from_record(record)
