"""The product's worker, timed: `bench.product` starts it as a process of its own.

python -m bench.product_worker --bootstrap 127.0.0.1:9092 --redis redis://127.0.0.1:6379/0 --events N --partitions 4
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
from bench.clock import Clock
from config.settings import load_settings

PATIENCE_S = 900.0


class Profile:
    """CPU seconds spent in the parts of the worker, by name; parts in other threads overlap with the rest."""

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

    def us_per_event(self, events: int) -> dict[str, float]:
        """Microseconds an event, largest first."""
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
    parser.add_argument("--skipped", type=int, default=0, help="events before those that are timed")
    parser.add_argument("--commit-interval", type=float, default=1.0, help="1 s as the peer's")
    given = parser.parse_args(argv)
    settings = load_settings(
        kafka=given.bootstrap,
        redis=given.redis,
        partitions=given.partitions,
        worker_port=0,
        commit_interval=given.commit_interval,
        config=given.config,
    )
    worker = Worker(settings, group=f"product-{uuid.uuid4().hex[:8]}")
    profile = Profile()
    profile.watch(worker.engine, "prepare", "open and decode (the main thread's share)")
    profile.watch(worker.engine, "receive", "slots and inbox")
    profile.watch(worker.work, "run", "pass: fold, score, decide, mature")
    profile.watch(worker.engine, "_drain", "outputs to librdkafka")
    profile.watch(worker, "_take_views", "views to Redis")
    clock = Clock(worker.engine, given.events, given.skipped)
    asyncio.run(_run(worker, clock, profile))
    return 1


def resident_bytes(pid: int) -> int:
    """Memory that the process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _run(worker: Worker, clock: Clock, profile: Profile) -> None:
    work = asyncio.ensure_future(worker.run())
    read = asyncio.get_running_loop().run_in_executor(None, clock.done.wait, PATIENCE_S)
    either: set[asyncio.Future[Any]] = {work, read}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not clock.done.is_set():
        reason = work.exception() if work.done() else f"the topics were not read in {PATIENCE_S:.0f} s"
        sys.stderr.write(f"{reason!r}\n")
        os._exit(1)
    await worker.app.consumer.commit()
    if worker.processor.outputs.flush(30):
        sys.stderr.write("outputs were not acknowledged in 30 s\n")
        os._exit(1)
    status = worker.status()
    decisions = status["alerts"] + status["offers"]
    figures = {
        **clock.figures(),
        "columns": len(worker.work.config.features.columns),
        "models": len(worker.work.models),
        "models_in_force": sum(model["version"] > 0 for model in status["models"].values()),
        "policies": len(worker.work.config.policies),
        "outputs_per_event": decisions / clock.events,
        "examples_per_event": sum(status["examples"].values()) / clock.events,
        "dead_letters": sum(status["dead_letters"].values()),
        "customers": status["customers"],
        "rss_bytes": resident_bytes(os.getpid()),
        "commit_cycles": worker.cycle.cycles,
        "batches": worker.engine.counters.batches,
        "views_written": status["views_written"],
        "profile_us_per_event": profile.us_per_event(clock.events),
    }
    print(json.dumps(figures), flush=True)
    work.cancel()
    os._exit(0)  # the figures are out; how threads stop is not what is measured


if __name__ == "__main__":
    sys.exit(main())
