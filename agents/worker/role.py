"""The worker: steps 2 to 8. Faust delivers raw batches, the pass runs over them, the commit cycle makes it durable."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from agents.processes import say_ready
from agents.registry import SnapshotFeed
from agents.runtime import HttpPort, run_app
from agents.topology import groups, topics
from config.settings import Settings
from models.scoring import Snapshot
from pipeline.config import load_config
from pipeline.live_pass import LivePass
from pipeline.step import DUPLICATES, LATE
from pipeline.warmup import warm
from schemas.topics import CHANGELOG, DEAD_LETTERS, EXAMPLES, LAYOUTS, MODELS
from serving.monitoring import RoleStatus
from serving.views import MemoryViews, RedisViews, Taken, ViewPublisher, ViewStore, entry
from streams.engine import Partition
from streams.errors import Retryable
from streams.kafka import BrokerProbe, ensure
from streams.processor import Processor
from streams.supervision import STALL_S, Watch, Watchdog, end_process

GROUP = groups.WORKER
SNAPSHOTS_PATIENCE_S = 30.0
SNAPSHOTS_KEPT = 1_000  # versions of a model: minutes of a busy learner, while a commit cycle takes seconds
LOOP_PATIENCE_S = 30.0
VIEWS_A_TAKE = 1_000  # the event loop packs so many in about 2 ms


class Worker:
    """One worker process: creates its parts and connects them."""

    def __init__(
        self, settings: Settings, *, group: str = GROUP, create_topics: bool = True, stall_s: float = STALL_S
    ) -> None:
        self.settings = settings
        self.work = LivePass(load_config(settings.config))
        warm(self.work)
        self.sources = self.work.layout.topics
        ensure(
            settings.access, topics(self.sources), partitions=settings.partitions, replication=settings.replication,
            create=create_topics,
        )  # fmt: skip
        self.processor = Processor(
            group, settings.access, self.sources, self.work,
            rows=self.work.layout, adoption=self.work, migration=self.work.migration, changelog=CHANGELOG,
            partitions=settings.partitions, standbys=settings.standbys, datadir=str(settings.state / "worker"),
            commit_interval_s=settings.commit_interval,
            prepare=self._snapshots_known,
            on_live=self._on_live, on_batch=lambda seconds: self.http.metrics.batch_seconds.observe(seconds),
            on_cycle=lambda seconds: self.http.metrics.commit_cycle_seconds.observe(seconds),
            dead_letters=DEAD_LETTERS, idle_after_ms=self.work.config.features.idle_after_ms,
        )  # fmt: skip
        self.app, self.engine, self.cycle = self.processor.app, self.processor.engine, self.processor.cycle
        self.feed = SnapshotFeed(settings.access, MODELS, self.work.config.models.names, self._offer)
        self.store: ViewStore = (
            MemoryViews() if settings.redis.startswith("memory") else RedisViews(settings.redis)
        )
        self.publisher = ViewPublisher(
            self.store, self._changed_views, self._views_back, self._gone_views,
            busy=self._events_come, limit=VIEWS_A_TAKE,
        )  # fmt: skip
        self.probe = BrokerProbe(settings.access, every_s=stall_s / 6)
        self.watchdog = Watchdog(
            [*self.processor.watches(self.probe), Watch(dict, functions={self._take_views: "views"})],
            away=self.probe.ask, stall_s=stall_s,
        )  # fmt: skip
        self.http = HttpPort(
            "worker",
            settings.host,
            settings.worker_port,
            self.status,
            self.ready,
            self.customer,
            self.watchdog.live,
        )
        # the customers whose views the publisher is writing: partition, slots
        self._given: list[tuple[Partition, Any]] = []
        self._turn = 0
        self._folded = 0  # events folded when `_events_come` was last called
        self._rate = (time.monotonic(), 0, 0.0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._telling: asyncio.Future[None] | None = None  # a reference, as the loop holds a task only weakly

    # -- snapshots ---------------------------------------------------------------------------------------

    async def _snapshots_known(self) -> None:
        """Before rows go live, wait for the layout's description to be stored and for the snapshots to be read.

        A control row may name any of these snapshots.
        """
        await self.processor.outputs.settled(self.processor.outputs.begin_epoch())
        wait = self.feed.caught_up.wait
        if not await asyncio.get_running_loop().run_in_executor(None, wait, SNAPSHOTS_PATIENCE_S):
            end_process(f"topic {MODELS} could not be read in {SNAPSHOTS_PATIENCE_S:.0f} s; check the broker")

    def _on_live(self, number: int, control: dict[str, Any]) -> None:
        partition = self.engine.partition(number)
        self.work.adopt(partition, control.get("next", {}) if control else self.work.offered(partition))

    def _offer(self, snapshot: Snapshot) -> None:
        if self._loop is not None and self._loop.is_running() and snapshot.model in self.work.models:
            self._loop.call_soon_threadsafe(self._keep, replace(snapshot, state=b""))

    def _keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and drop the oldest ones not in force here: control rows name only recent ones."""
        self.work.offer(snapshot)
        known = self.work.snapshots[snapshot.model]
        if len(known) > SNAPSHOTS_KEPT:
            partitions = self.engine.partitions.values()
            used = {self.work.in_force(partition).get(snapshot.model) for partition in partitions}
            for version in sorted(set(known) - used)[: len(known) - SNAPSHOTS_KEPT]:
                del known[version]

    # -- views -------------------------------------------------------------------------------------------

    def _in_loop(self, call: Any, *given: Any) -> Any:
        """Run `call` in the event loop's thread, which owns the rows, and return its result."""
        assert self._loop is not None
        done: Future[Any] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return  # nobody waits for the result any more, and the views it took would be lost
            try:
                done.set_result(call(*given))
            except BaseException as error:  # raised in the thread that waits for it
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        try:
            return done.result(timeout=LOOP_PATIENCE_S)
        except TimeoutError as error:
            if not done.cancel():  # it has just started, so its result will come
                return done.result()
            raise Retryable(f"the worker has been busy for {LOOP_PATIENCE_S:.0f} s; try again") from error

    def _events_come(self) -> bool:
        """Return whether the worker has folded events since the last call."""
        before, self._folded = self._folded, self.engine.counters.events
        return self._folded != before

    def _changed_views(self, limit: int) -> Taken:
        if not any(partition.unseen for partition in list(self.engine.partitions.values())):
            return Taken([], [], 0, 0.0)  # the next call sees what changes meanwhile
        return self._in_loop(self._take_views, limit)  # type: ignore[no-any-return]

    def _take_views(self, limit: int) -> Taken:
        began = time.perf_counter()
        keys: list[bytes] = []
        blobs: list[bytes] = []
        self._given.clear()
        live = [partition for partition in self.engine.partitions.values() if partition.live]
        self._turn += 1
        for i in range(len(live)):  # another partition is first each time
            partition = live[(i + self._turn) % len(live)]
            slots = partition.take_seen(limit - len(keys))
            if len(slots):
                keys += partition.index.keys(slots)
                blobs += self.work.packed_views(partition, slots)
                self._given.append((partition, slots))
        # the partition with most waiting is first once in `len(live)` takes, so it needs as many times its own
        left = len(live) * max((partition.unseen for partition in live), default=0)
        return Taken(keys, blobs, left, time.perf_counter() - began)

    def _gone_views(self, limit: int) -> list[bytes]:
        if not any(partition.gone for partition in list(self.engine.partitions.values())):
            return []
        return self._in_loop(self._take_gone, limit)  # type: ignore[no-any-return]

    def _take_gone(self, limit: int) -> list[bytes]:
        keys: list[bytes] = []
        for partition in self.engine.partitions.values():
            if partition.live:
                keys += partition.take_gone(limit - len(keys))
        return keys

    def _views_back(self, keys: Any) -> None:
        """Return unwritten views, and retry until it works: a lost view would not be written before its next change."""
        while True:
            try:
                return self._in_loop(self._return_views, list(keys))  # type: ignore[no-any-return]
            except Retryable:
                continue

    def _return_views(self, keys: list[bytes]) -> None:
        unwritten = set(keys)
        for partition, slots in self._given:
            still = [key in unwritten for key in partition.index.keys(slots)]
            partition.give_back(slots[np.array(still)])

    def customer(self, key: bytes) -> dict[str, float] | None:
        """Return all views of a customer, unwritten ones included; None if the row is not here."""
        return self._in_loop(self._look_up, key)  # type: ignore[no-any-return]

    def _look_up(self, key: bytes) -> dict[str, float] | None:
        for partition in self.engine.partitions.values():
            slot = partition.index.find(key)
            if slot is not None and partition.live:
                return self.work.view_values(partition, slot)
        return None

    # -- figures -----------------------------------------------------------------------------------------

    def ready(self) -> tuple[bool, str]:
        """Return whether the rows are restored and the worker takes events, and if not, why."""
        if not self.processor.table.recovered:
            return False, "rows are being restored"
        away = self.watchdog.away or self.probe.away
        return not away, away

    def status(self) -> RoleStatus:
        """Return the figures for /status, /metrics and the page."""
        counters, engine = self.engine.counters, self.engine
        live = [partition for partition in list(engine.partitions.values()) if partition.live]
        versions = [self.work.in_force(partition) for partition in live]
        written, failures, oldest_s = self.publisher.published()
        outputs: dict[str, int] = {}
        examples: dict[str, int] = {}
        totals = {"alerts": 0, "offers": 0}
        for (topic, label), count in list(counters.outputs.items()):
            if topic == EXAMPLES:
                examples[label] = count
            else:
                outputs[label] = count
                totals[topic] += count
        marks = [float(p.clocks[0]) for p in live if p.clocks[0] > 0]
        return {
            "role": "worker",
            "events": counters.events,
            "events_per_s": self._events_per_s(),
            "lag": engine.lag(),
            "dead_letters": dict(counters.reasons),
            "duplicates": int(self.work.counters[DUPLICATES]),
            "late": int(self.work.counters[LATE]),
            "outputs": outputs,
            "kinds": {policy.name: policy.kind for policy in self.work.config.policies},
            "alerts": totals["alerts"],
            "offers": totals["offers"],
            "examples": examples,
            "watermark_ms": int(min(marks)) if marks else 0,
            "commit_age_s": time.monotonic() - self.cycle.completed_at,
            "partitions": len(live),
            "customers": sum(p.index.keys_held for p in live),
            "models": {
                name: {"version": max((v.get(name, 0) for v in versions), default=0)}
                for name in self.work.models
            },
            "views_written": written,
            "view_failures": failures,
            "views_age_s": oldest_s,
        }

    def _events_per_s(self) -> float:
        """Return the events per second, measured over at least a second."""
        then, events, rate = self._rate
        now = time.monotonic()
        if now - then >= 1.0:
            rate = (self.engine.counters.events - events) / (now - then)
            self._rate = (now, self.engine.counters.events, rate)
        return rate

    # -- life --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until stopped."""
        self._loop = asyncio.get_running_loop()
        self.processor.outputs.send(LAYOUTS, [entry(self.work.layout)])
        self.feed.start()
        self.http.start()
        self.watchdog.start()  # before the start, which may hang, too
        self._beating = asyncio.ensure_future(self.watchdog.keep_beating())
        try:
            await run_app(self.app, on_started=self._started)
            self.processor.table.save()
        finally:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self.publisher.stop)
            await loop.run_in_executor(None, self.processor.log.close)
            self.watchdog.stop()
            self.feed.stop()
            self.http.stop()

    def _started(self) -> None:
        self.publisher.start()
        self._telling = asyncio.ensure_future(self._tell_ready())

    async def _tell_ready(self) -> None:
        while not self.ready()[0]:
            await asyncio.sleep(0.05)
        say_ready("worker", f"{self.settings.host}:{self.http.server.port}")
