"""Runs and times the worker of the product; `bench.product` starts it as a process.

python -m bench.harness.product_worker --bootstrap 127.0.0.1:9092 --redis redis://127.0.0.1:6379/0 --events N
--partitions 4

With `--before N` the first N events are not timed. When they are folded and committed and their views written, the
worker stops fetching, prints `SETTLED`, and continues when a line arrives on standard input. It times the events
produced meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.worker import Worker
from config.settings import load_settings
from streams.engine import Partition

from .clock import Clock

PATIENCE_S = 1800.0  # for each phase
LOOK_S = 0.05
REPORT_S = 10.0
SETTLED = "settled"


class Profile:
    """CPU seconds in the parts of the worker, by name; parts in other threads run in parallel."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Time every call of `owner.method` under `name`."""
        call: Callable[..., Any] = getattr(owner, method)
        seconds = self.seconds
        seconds[name] = 0.0

        def timed(*given: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return call(*given, **named)
            finally:
                seconds[name] += time.thread_time() - started

        setattr(owner, method, timed)

    def clear(self) -> None:
        """Reset all parts to 0."""
        self.seconds.update(dict.fromkeys(self.seconds, 0.0))

    def us_per_event(self, events: int) -> dict[str, float]:
        """Return microseconds per event by part, largest first."""
        parts = sorted(self.seconds.items(), key=lambda part: -part[1])
        return {name: round(seconds / events * 1e6, 4) for name, seconds in parts}


def main(argv: list[str] | None = None) -> int:
    """Consume the event topics once and print the figures as one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--before", type=int, default=0, help="number of events before the timed ones")
    parser.add_argument(
        "--commit-interval", type=float, default=1.0, help="seconds; the default is that of the peer"
    )
    given = parser.parse_args(argv)
    settings = load_settings(
        kafka=given.bootstrap,
        redis=given.redis,
        partitions=given.partitions,
        worker_port=0,
        commit_interval=given.commit_interval,
        config=given.config,
    )
    # events may wait longer than the watchdog's limit while the worker pauses
    worker = Worker(settings, group=f"product-{uuid.uuid4().hex[:8]}", stall_s=2 * PATIENCE_S)
    profile = Profile()
    profile.watch(worker.engine, "prepare", "open and decode (the main thread's share)")
    profile.watch(worker.engine, "receive", "slots and inbox")
    profile.watch(worker.work, "run", "pass: fold, score, decide, mature")
    profile.watch(worker.engine, "_drain", "outputs to librdkafka")
    profile.watch(worker, "_take_views", "views to Redis")
    profile.watch(Partition, "make_room", "room for rows")
    profile.watch(Partition, "records", "changed rows into record batches")
    asyncio.run(_run(worker, profile, given.events, given.before))
    return 1


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _run(worker: Worker, profile: Profile, events: int, before: int) -> None:
    work = asyncio.ensure_future(worker.run())
    measured = asyncio.ensure_future(_measured(worker, profile, events, before))
    either: set[asyncio.Future[Any]] = {work, measured}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not measured.done() or measured.exception() is not None:
        reason = measured.exception() if measured.done() else work.exception()
        sys.stderr.write(f"{reason!r}\n")
        os._exit(1)
    print(json.dumps(measured.result()), flush=True)
    os._exit(0)  # the figures are printed; how threads stop is not measured


async def _measured(worker: Worker, profile: Profile, events: int, before: int) -> dict[str, Any]:
    if before:
        await _settle(worker, before)
    profile.clear()
    counted = _counted(worker)
    clock = Clock(worker.engine, events)
    if before:
        await _fetch(worker, True)
    await _until(clock.done.is_set, worker, "all events are folded")
    in_parts = profile.us_per_event(events)
    counts = {name: count - counted[name] for name, count in _counted(worker).items()}
    after_s = {}
    endings = {"committed_s": lambda: _committed(worker), "all_views_s": lambda: not _views_waiting(worker)}

    async def ending(name: str) -> None:
        await _until(endings[name], worker, f"{name} is known")
        after_s[name] = clock.since_done_s()

    await asyncio.gather(*map(ending, endings))
    if worker.processor.outputs.flush(30):
        raise RuntimeError("outputs were not acknowledged in 30 s")
    status = worker.status()
    return {
        **clock.figures(),
        "columns": len(worker.work.config.features.columns),
        "models": len(worker.work.models),
        "models_in_force": sum(model["version"] > 0 for model in status["models"].values()),
        "policies": len(worker.work.config.policies),
        "outputs_per_event": counts.pop("outputs") / events,
        "examples_per_event": counts.pop("examples") / events,
        "dead_letters": sum(status["dead_letters"].values()),
        "customers": status["customers"],
        "rss_bytes": resident_bytes(os.getpid()),
        **counts,
        **after_s,
        "profile_us_per_event": in_parts,
    }


async def _settle(worker: Worker, events: int) -> None:
    """Wait until `events` are processed, stop fetching, and wait while the caller produces the timed events."""

    def settled() -> bool:
        folded = worker.engine.counters.events >= events
        return folded and _committed(worker) and not _views_waiting(worker)

    await _until(settled, worker, "the events before the timed ones are processed")
    await _fetch(worker, False)
    print(SETTLED, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await worker.app.before_live(set(worker.engine.partitions))


async def _until(there: Callable[[], bool], worker: Worker, what: str) -> None:
    began = reported = time.monotonic()
    while not there():
        await asyncio.sleep(LOOK_S)
        now = time.monotonic()
        if now - began > PATIENCE_S:
            raise RuntimeError(f"waited {PATIENCE_S:.0f} s until {what}")
        if now - reported > REPORT_S:
            reported = now
            events, views = worker.engine.counters.events, _views_waiting(worker)
            line = f"  until {what}: {events:,} events folded, {worker.cycle.cycles} cycles, {views:,} views wait"
            print(line, file=sys.stderr, flush=True)


async def _fetch(worker: Worker, on: bool) -> None:
    """Start or stop fetching events."""
    thread = worker.app.consumer._thread

    async def change() -> None:
        client = thread._ensure_consumer()
        own = [tp for tp in client.assignment() if tp.topic in worker.sources]
        (client.resume if on else client.pause)(*own)

    await thread.call_thread(change)


def _committed(worker: Worker) -> bool:
    """Whether no row waits for a commit cycle and no cycle is running."""
    return not worker.cycle.step and not any(p.counts[0] for p in worker.engine.partitions.values())


def _views_waiting(worker: Worker) -> int:
    return sum(partition.unseen for partition in worker.engine.partitions.values())


def _counted(worker: Worker) -> dict[str, int]:
    """Return the counters, which count from the start of the process."""
    status = worker.status()
    return {
        "outputs": status["alerts"] + status["offers"],
        "examples": sum(status["examples"].values()),
        "commit_cycles": worker.cycle.cycles,
        "batches": worker.engine.counters.batches,
        "views_written": status["views_written"],
    }


if __name__ == "__main__":
    sys.exit(main())
