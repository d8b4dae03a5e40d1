"""What a worker keeps is bounded, and what it hands to other threads is not lost between them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

import agents.worker.role
from agents.worker.role import SNAPSHOTS_KEPT, Worker
from models.scoring.snapshot import Snapshot
from streams.errors import Retryable
from tests.doubles import Rig

FEATURES = Rig().config.models.names


def snapshot(version: int, model: str = "purchase") -> Snapshot:
    weights = (0.5,) * len(FEATURES)
    return Snapshot(model, version, 1, "linear", FEATURES, 0.1, weights, version, state=b"x" * 5000)


@pytest.fixture
def worker() -> Any:
    """A worker's own methods over a rig; nothing else of it exists."""
    made: Any = object.__new__(Worker)
    rig = Rig()
    made.work, made.engine, made._loop = rig.work, rig.engine, None
    made.rig = rig
    return made


def test_snapshots_are_kept_within_a_bound_but_never_lost_while_in_force(worker: Any) -> None:
    partition = worker.rig.live(0)
    worker._keep(snapshot(1))
    worker.work.adopt(partition, {"purchase": 1})
    for version in range(2, SNAPSHOTS_KEPT + 500):
        worker._keep(snapshot(version))
    known = worker.work.snapshots["purchase"]
    assert len(known) == SNAPSHOTS_KEPT
    assert 1 in known  # it still scores here
    assert min(set(known) - {1}) == 501
    assert worker.work.newest == {"purchase": SNAPSHOTS_KEPT + 499}


def test_what_only_the_learner_needs_and_models_nobody_declared_are_not_kept(worker: Any) -> None:
    called: list[tuple[Any, ...]] = []
    worker._loop = SimpleNamespace(
        is_running=lambda: True, call_soon_threadsafe=lambda *call: called.append(call)
    )
    worker._offer(snapshot(1, model="nobody"))
    worker._offer(snapshot(2))
    ((keep, kept),) = called
    assert keep == worker._keep
    assert (kept.version, kept.state) == (2, b"")


def test_a_loop_that_is_busy_is_no_end_and_what_it_would_have_taken_stays(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that nobody waits for any more must not run: the views that it takes would never be written."""
    monkeypatch.setattr(agents.worker.role, "LOOP_PATIENCE_S", 0.05)
    busy = threading.Event()
    ran: list[int] = []

    async def serve() -> None:
        worker._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(worker._in_loop, ran.append, 1)
            busy.set()
            with pytest.raises(Retryable, match="busy"):
                asked.result(10)  # holds the loop meanwhile
            await asyncio.sleep(0.01)
            assert ran == []
            again = worker._loop.run_in_executor(pool, worker._in_loop, ran.append, 2)
            await again
        assert ran == [2]

    asyncio.run(serve())
