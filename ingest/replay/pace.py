"""The speed of a replay's stream time against the clock."""

from __future__ import annotations

import re
from collections.abc import Callable

from ingest.source import DEAD_LETTERS
from streams.errors import ConfigError

FOREVER_MS = 1 << 62
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_speed(text: str) -> float:
    """Return the stream seconds for each second of the clock: `1d/s` is 86,400."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])/s", text.strip())
    speed = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if speed <= 0:
        raise ConfigError(
            "--speed", None, f"expected stream time a second such as 1d/s, 12h/s or 30m/s, got {text!r}"
        )
    return speed


class Pace:
    """Paces a replay at `speed` stream seconds a second (None: no pace), from the first event at `begins_ms` on."""

    def __init__(self, speed: float | None, begins_ms: int | None, clock: Callable[[], float]) -> None:
        self.speed, self.begins_ms, self.clock = speed, begins_ms, clock
        self.began: tuple[float, int] | None = None  # the clock and the stream time

    def horizon_ms(self, topic: str, time_ms: int) -> int:
        """Return the stream time up to which events may go now; the next event has this `topic` and `time_ms`."""
        if self.speed is None:
            return FOREVER_MS
        if self.began is None:
            if topic == DEAD_LETTERS or (self.begins_ms is not None and time_ms < self.begins_ms):
                return time_ms
            self.began = self.clock(), time_ms
        return self.began[1] + int((self.clock() - self.began[0]) * 1000 * self.speed)
