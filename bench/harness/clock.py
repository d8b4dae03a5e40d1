"""Measures wall and CPU seconds of the process from the first record that an engine takes to the last one folded."""

from __future__ import annotations

import threading
import time
from typing import Any

from streams.engine import Engine


class Clock:
    """Times `engine` until it has folded `events` more events, then sets `done`."""

    def __init__(self, engine: Engine, events: int) -> None:
        self.events = events
        self.done = threading.Event()
        self.wall_s = self.cpu_s = 0.0
        self._engine, self._last = engine, engine.counters.events + events
        self._started: tuple[float, float] | None = None
        self._on_bundle = engine.on_bundle
        engine.on_bundle = self._timed  # type: ignore[method-assign]

    def _timed(self, bundle: Any, ends: Any) -> None:
        if self._started is None:
            self._started = time.perf_counter(), time.process_time()
        self._on_bundle(bundle, ends)
        if self._engine.counters.events >= self._last and not self.done.is_set():
            self.wall_s = time.perf_counter() - self._started[0]
            self.cpu_s = time.process_time() - self._started[1]
            self.done.set()

    def since_done_s(self) -> float:
        """Seconds since the last event was folded."""
        assert self._started is not None
        return time.perf_counter() - self._started[0] - self.wall_s

    def figures(self) -> dict[str, Any]:
        """Return the figures that every engine reports."""
        return {
            "events": self.events,
            "events_per_s": self.events / self.wall_s,
            "cpu_us_per_event": self.cpu_s / self.events * 1e6,
        }
