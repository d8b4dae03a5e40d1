"""The analyst: forecasts sums of events and recommends to each customer what to buy next (step 10). It reads beside the
workers, in a group of its own, so that it adds no cost to their work on an event.

It sends results about every second: forecasts that moved on a step, departures, changed recommendations. The commit,
every `commit_interval`: wait until results are acknowledged; write the changes of the state, with the offsets applied
to it, in one transaction; commit the source offsets. After a crash the state says which offsets are applied, so that
no event is lost and none is learned twice; the same results are sent again, under the same keys and ids.

The analyst drops a repeated message id. To know the recent ids it starts reading a window of events before the first
one wanted. The state has one writer at any time (streams.durability.changelog).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from faust.types.tuples import TP

from agents.runtime import IntakeRole
from agents.topology import groups
from config.settings import Settings
from models.forecasting import load_forecasts
from models.recommendation import NOBODY, Stock, load_recommendations
from pipeline.config import load_config
from pipeline.decode_programs import decode_programs
from schemas.topics import ANALYST_CHANGELOG
from serving.monitoring import RoleStatus
from serving.recommendations import RecommendationWriter, recommendation_writer
from streams.avro import AvroProgram
from streams.durability import FencedChangelog
from streams.errors import Fatal
from streams.intake import WINDOW, Batches, Bounds, EventReader, TimeMerge
from streams.supervision import STALL_S, Watch, reached

from .analysis import Analysis
from .results import Results
from .state_log import PARTITION, Kept, StateLog, read_state

GROUP = groups.ANALYST
log = logging.getLogger(__name__)

PUBLISH = "publish"
SLICE = 50  # events (some milliseconds) before the event loop gets its turn
IDLE_MS = 60_000  # after a live source has been silent for so long, forecasts follow the wall clock
LIVE_MS = 3_600_000  # a source is live if its events are appended within this time


class AnalystRole(IntakeRole):
    """Takes the events to analyse, and learns only while it has all partitions.

    Two analysts would each learn a part of the events.
    """

    NAME = "analyst"
    # results are sent; results are acknowledged; the state is sent; it is acknowledged, offsets are not committed
    POINTS = ("sent", "acknowledged", "written", "settled")

    def __init__(
        self,
        settings: Settings,
        *,
        group: str = GROUP,
        wall_clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        stall_s: float = STALL_S,
    ) -> None:
        self._wall_clock_ms = wall_clock_ms
        self._make = analysis_maker(settings)
        self.analysis = self._make()
        topics = self.analysis.topics
        self.recommendation_writer: RecommendationWriter = recommendation_writer(
            settings.redis, lambda key: self.analysis.shop.recommended(key)
        )
        super().__init__(settings, group, topics, stall_s=stall_s, customer=self.recommendation_writer.answer)
        self.whole = False
        self.results = Results(self.outputs)
        self.changelog = FencedChangelog(ANALYST_CHANGELOG, group, settings.access, transaction_s=math.inf)
        self.merging = TimeMerge(self.intake.behind)
        programs = _programs(settings)
        self.arrivals = EventReader({topic: programs[topic] for topic in topics})
        self.intake.app.backlog = self.merging.full
        self.state = StateLog()
        self.stock = Stock(self.analysis.shop.spec.out_of_stock)
        self.live = False  # whether events arrive as they happen
        self._wanted: dict[TP, int] = {}  # learning begins here; of earlier events only the ids are noted
        self._written: dict[TP, int] = {}  # the offsets that the newest state names
        self._newest_ms = 0  # when the newest event was appended

    # -- Taker -------------------------------------------------------------------------------------------

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """Resume from the state, or from the first event of a partition that the state does not know."""
        self.whole = len(bounds) == self.settings.partitions * len(self.analysis.topics)
        self.merging.begin(())
        if not self.whole:
            return {}
        self.changelog.drop(PARTITION)
        await self.changelog.take([PARTITION])
        kept = await asyncio.get_running_loop().run_in_executor(None, read_state, self.settings.access)
        offsets = self.restore(kept)
        for tp, (_, end) in bounds.items():
            _check_log(tp, offsets.get(tp, 0), end)
        earliest = await self.intake.earliest(bounds)
        starts = {tp: max(earliest[tp], offsets.get(tp, 0)) for tp in bounds}
        self.intake.missed += sum(starts[tp] - offset for tp, offset in offsets.items() if tp in starts)
        self.resume(starts)
        return {tp: max(earliest[tp], start - WINDOW) for tp, start in starts.items()}

    def restore(self, kept: Kept) -> dict[TP, int]:
        """Replace the state with that of the changelog; return the offsets applied to it."""
        self.analysis, self.state = self._make(), StateLog()
        control = self.state.restore(self.analysis, kept)
        self.analysis.shop.without(self.stock.products)
        self.recommendation_writer.put([NOBODY, *self.analysis.shop.shoppers])
        if control is None:
            return {}
        self.live = control.live
        places = ((name.rpartition(":"), offset) for name, offset in control.offsets.items())
        return {TP(topic, int(number)): offset for (topic, _, number), offset in places}

    def resume(self, starts: dict[TP, int]) -> None:
        """Learn the events from these offsets on."""
        self._wanted, self._written = starts, {}
        self.arrivals.forget()
        self.merging.begin(starts)

    async def take(self, batches: Batches) -> None:
        """Add the events of a fetch to the merge, then learn those whose order is known, a slice at a time."""
        epoch = self.intake.epoch
        for tp, batch in batches:
            position = self.intake.positions[tp]
            events = self.arrivals.events(tp, batch, position, self._wanted.get(tp, 0))
            self.merging.add(tp, batch.count, events)
            self.intake.taken(tp, batch.next_offset, epoch)
        while self._learn():
            await asyncio.sleep(0)
            if self.intake.epoch != epoch:
                return

    def _learn(self) -> bool:
        """Learn a slice of the events known to come next; return whether there may be more."""
        for _ in range(SLICE):
            event = self.merging.take()
            if event is None:
                return False
            self.analysis.apply(event.tp.topic, event.key, event.record)
            self._newest_ms = max(self._newest_ms, event.appended_ms)
            self.live = event.appended_ms - event.time_ms < LIVE_MS
        return True

    async def commit(self) -> dict[TP, int]:
        """Send results, and the state when it is due; return the offsets that the newest state covers."""
        if not (self.intake.assigned and self.whole):
            self.completed_at = time.monotonic()
            return {}
        epoch = self.intake.epoch
        self._learn()
        self._follow_the_clock()
        if self.stock.look():
            self.analysis.shop.without(self.stock.products)
        self.recommendation_writer.put(self.results.send(self.analysis))
        reached(self.failpoints, "sent")
        offsets = self._applied()
        messages = self._changes(offsets) if self._due() else []
        with self.intake.steps(PUBLISH):
            await self.outputs.settled(self.outputs.begin_epoch())
            reached(self.failpoints, "acknowledged")
            if not messages or self.intake.epoch != epoch:
                return self._written if self.intake.epoch == epoch else {}
            self.changelog.send(PARTITION, messages)
            reached(self.failpoints, "written")
            await self.changelog.settled()
        reached(self.failpoints, "settled")
        self._written = offsets
        return offsets

    def _due(self) -> bool:
        """Return whether the state is due to be written."""
        app, now = self.intake.app, time.monotonic()
        if now - self.completed_at < self.settings.commit_interval and not (app.hurried or app.should_stop):
            return False
        self.completed_at = now
        return True

    def _applied(self) -> dict[TP, int]:
        """Return the offset of the next event to learn of each partition."""
        reached_at = self.merging.reached(self.intake.positions)
        return {tp: max(at, self._wanted.get(tp, 0)) for tp, at in reached_at.items()}

    def _changes(self, offsets: dict[TP, int]) -> list[dict[str, Any]]:
        """Return the state's changed records; none if nothing changed."""
        named = {f"{tp.topic}:{tp.partition}": offset for tp, offset in offsets.items()}
        return self.state.changes(self.analysis, named, self.live)

    def _follow_the_clock(self) -> None:
        """Close steps without events, too, while a live source is silent."""
        now_ms = self._wall_clock_ms() - IDLE_MS
        if (
            self.live
            and now_ms > self._newest_ms
            and not self.merging
            and not any(self.intake.lag().values())
        ):
            self.analysis.advance(now_ms)

    # -- figures -----------------------------------------------------------------------------------------

    def watches(self) -> list[Watch]:
        """Watch the results and the state that are not acknowledged yet."""
        return [Watch(self._publishing, functions={self._learn: "learn"})]

    def _publishing(self) -> dict[str, object]:
        pending = self.outputs.pending, self.changelog.pending
        return {PUBLISH: pending} if PUBLISH in self.intake.steps else {}

    def status(self) -> RoleStatus:
        """Return the figures for /status, /metrics and the page."""
        analysis, shop = self.analysis, self.analysis.shop
        return {
            **super().status(),
            "analysed": analysis.events,
            "baskets": analysis.baskets,
            "shoppers": len(shop.shoppers),
            "items": 0 if shop.assortment is None else len(shop.assortment.keys),
            "series": sum(len(forecaster.series) for forecaster in list(analysis.forecasters.values())),
            "departures": analysis.departed,
            "recommended": self.results.recommended,
            "unreadable": dict(self.arrivals.refused),
            "duplicates": self.arrivals.repeated,
            "views_written": self.recommendation_writer.written,
            "view_failures": self.recommendation_writer.failures,
        }

    async def prepare(self) -> None:
        """Begin to write recommendations."""
        self._shelving = asyncio.ensure_future(self.recommendation_writer.run())

    async def finish(self) -> None:
        """Stop writing recommendations, and let another analyst write the state."""
        self._shelving.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self.changelog.close)


def analysis_maker(settings: Settings) -> Callable[[], Analysis]:
    """Return a function that makes an empty analysis. Raises `ConfigError` for a mistake in the config files."""
    sources = {source.topic: source.schema for source in load_config(settings.config).features.sources}
    forecasts = load_forecasts(settings.config / "forecasts.yaml")
    shop = load_recommendations(settings.config / "recommendations.yaml")
    return lambda: Analysis(forecasts, shop, sources)


def _programs(settings: Settings) -> dict[str, AvroProgram]:
    """Return by topic the Avro program that the workers read it with."""
    features = load_config(settings.config).features
    topics = (source.topic for source in features.sources)
    return dict(zip(topics, decode_programs(features), strict=True))


def _check_log(tp: TP, applied: int, end: int) -> None:
    """Raise `Fatal` if the state names an offset beyond the topic's end: it belongs to another topic."""
    if applied > end:
        raise Fatal(
            f"{tp.topic}[{tp.partition}] ends at offset {end}, but {ANALYST_CHANGELOG} holds {applied}: the topic was "
            f"created anew, so create {ANALYST_CHANGELOG} anew, too"
        )
