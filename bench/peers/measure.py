"""Shared by every Python peer: the command line, the clock and the final JSON line."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """A peer's work: read `events` events of `topic`, produce alerts to `alerts_topic`."""

    bootstrap: str
    topic: str
    events: int
    alerts_topic: str


def options(argv: list[str] | None = None) -> Options:
    """Parse the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--alerts-topic", required=True)
    return Options(**vars(parser.parse_args(argv)))


class Meter:
    """Measures rate and CPU time from the first record received to the last one processed."""

    def __init__(self, engine: str, events: int) -> None:
        self.engine = engine
        self.events = events
        self._start_s = 0.0
        self._start_cpu_s = 0.0
        self._span_s = 0.0
        self._cpu_s = 0.0

    def start(self) -> None:
        """Start the clock; call it when the first record arrives."""
        self._start_s, self._start_cpu_s = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Stop the clock; call it when the last record is processed."""
        # process_time counts all threads, those of librdkafka included.
        self._span_s = time.perf_counter() - self._start_s
        self._cpu_s = time.process_time() - self._start_cpu_s

    def report(self, alerts: int) -> None:
        """Print the one JSON line that `bench.engine` reads."""
        line = {
            "engine": self.engine,
            "events": self.events,
            "events_per_s": round(self.events / self._span_s, 1),
            "cpu_us_per_event": round(self._cpu_s / self.events * 1e6, 4),
            "alerts": alerts,
        }
        print(json.dumps(line), flush=True)
