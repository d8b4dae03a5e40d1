"""The benches' clock runs from the first bundle after it was made to the last event that it waits for."""

from __future__ import annotations

from typing import Any

from bench.harness.clock import Clock
from streams.engine.engine import Counters


class Engine:
    """Folds as many events as a bundle says."""

    def __init__(self) -> None:
        self.counters = Counters()

    def on_bundle(self, bundle: int, ends: Any) -> None:
        self.counters.events += bundle


def test_what_was_folded_before_does_not_count() -> None:
    engine: Any = Engine()
    engine.on_bundle(100, {})
    clock = Clock(engine, 10)
    engine.on_bundle(9, {})
    assert not clock.done.is_set()
    engine.on_bundle(1, {})
    assert clock.done.is_set()
    wall_s = clock.wall_s
    engine.on_bundle(5, {})
    assert clock.wall_s == wall_s > 0
    assert clock.since_done_s() > 0
    assert clock.figures()["events"] == 10
