"""One series of a forecast: its forecast, its bounds, and whether it has left them.

The models work on signed square roots of the sums. The larger sums of events are, the more they vary; their roots vary
nearly equally, by night and by day. The transform keeps the meaning of the bounds; the expected value is that of the
square.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from .config import ForecastSpec
from .conformal import Intervals
from .departure import Evidence
from .seasonal import Seasonal, floats, little

DIRECTIONS: Final = ("below", "above")
_LARGEST: Final = 1e9  # a square root, or a forecast of one
_LARGEST_STEP: Final = 1 << 40


class Outlook(NamedTuple):
    """One step ahead: the expected value, and bounds that contain a share `coverage` of actual values."""

    expected: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Left:
    """A departure of a series: detected at `step`, outside since `since`."""

    direction: str
    step: int
    since: int
    value: float
    outlook: Outlook
    evidence: float


class SeriesState(msgspec.Struct, forbid_unknown_fields=True):
    """All that a series needs to continue as if undisturbed."""

    steps: int
    outliers: int
    seasonal: bytes
    counts: list[int]
    numbers: bytes
    latest: bytes
    waiting: list[bytes]
    evidence: list[float]
    since: list[int]
    quiet: list[int]
    signed: bool


class Series:
    """One series; `learn` takes every step exactly once, in order."""

    def __init__(self, spec: ForecastSpec) -> None:
        self._horizon, self._coverage = spec.horizon, spec.coverage
        # Forecasts begin after two short seasons; earlier ones would be worthless.
        self._warm_up = 2 * spec.seasons[0]
        self._quiet_steps = -(-spec.quiet_ms // spec.step_ms)
        self.signed = False  # whether there was a value below zero
        self.hushed = 0  # departures that were suppressed
        self._seasonal = Seasonal(spec.seasons)
        self._intervals = Intervals(spec.horizon, spec.coverage)
        # forecasts not yet compared, the latest first
        self._waiting: deque[array[float]] = deque(maxlen=spec.horizon)
        # Both directions together may raise one false alarm in `alarm_ms`.
        alarm_steps = 2.0 * spec.alarm_ms / spec.step_ms
        self._evidence = [Evidence(self._intervals.share, alarm_steps) for _ in DIRECTIONS]
        self._quiet = [0, 0]  # the first step that may report a departure again

    @property
    def ready(self) -> bool:
        return bool(self._waiting)

    def learn(self, step: int, value: float) -> Left | None:
        """Learn the value of step `step`; return the departure that it completes, if any."""
        x = math.copysign(math.sqrt(abs(value)), value)
        self.signed = self.signed or value < 0.0
        left = None
        if self._waiting:
            forecast, scale = self._waiting[0][0], self._intervals.scale
            outlook = self.outlook()[0]
            left = self._judge(step, self._missed(x), value, outlook)
            self._compare(x)
        else:
            forecast, scale = self._seasonal.forecast(step, 1)[0], 0.0
        self._seasonal.learn(step, x, forecast, scale)
        if self._seasonal.steps >= self._warm_up:
            ahead = self._seasonal.forecast(step + 1, self._horizon)
            self._waiting.appendleft(array("d", (max(-_LARGEST, min(_LARGEST, m)) for m in ahead)))
        return left

    def pause(self, steps: int) -> None:
        """Skip `steps` unknown steps and drop the forecasts made so far."""
        self._seasonal.pause(steps)
        self._waiting.clear()

    def outlook(self) -> list[Outlook]:
        """Return the outlook of the steps ahead; empty during the warm-up."""
        if not self._waiting:
            return []
        found = []
        for middle, (lower, upper, scale) in zip(self._waiting[0], self._intervals.bounds(), strict=True):
            low, high = _square(self._floored(middle + lower)), _square(self._floored(middle + upper))
            expected = _expected(middle, scale) if self.signed else max(0.0, middle) ** 2 + scale * scale
            found.append(Outlook(max(low, min(high, expected)), low, high))
        return found

    def _floored(self, bound: float) -> float:
        return bound if self.signed else max(0.0, bound)

    def _missed(self, x: float) -> tuple[bool, bool]:
        """Return whether the value is below, and whether above, the usual range one step ahead."""
        middle, (lower, upper) = self._waiting[0][0], self._intervals.usual()
        return x < self._floored(middle + lower), x > self._floored(middle + upper)

    def _compare(self, x: float) -> None:
        """Learn from all forecasts of this step."""
        bounds = self._intervals.bounds()
        for ahead, forecasts in enumerate(self._waiting):
            middle, (lower, upper, _) = forecasts[ahead], bounds[ahead]
            below = x < self._floored(middle + lower)
            above = x > self._floored(middle + upper)
            self._intervals.learn(ahead, x - middle, below, above)

    def _judge(self, step: int, missed: tuple[bool, bool], value: float, outlook: Outlook) -> Left | None:
        left = None
        for side, direction in enumerate(DIRECTIONS):
            evidence = self._evidence[side].learn(step, missed[side])
            if evidence and step < self._quiet[side]:
                self.hushed += 1
            elif evidence:
                self._quiet[side] = step + self._quiet_steps
                left = Left(direction, step, self._evidence[side].since, value, outlook, evidence)
        return left

    def state(self) -> SeriesState:
        steps, outliers, seasonal = self._seasonal.state()
        counts, numbers, latest = self._intervals.state()
        return SeriesState(
            steps=steps,
            outliers=outliers,
            seasonal=seasonal,
            counts=counts,
            numbers=numbers,
            latest=latest,
            waiting=[little(forecasts) for forecasts in self._waiting],
            evidence=[each.sum for each in self._evidence],
            since=[each.since for each in self._evidence],
            quiet=list(self._quiet),
            signed=self.signed,
        )

    @classmethod
    def restore(cls, spec: ForecastSpec, known: SeriesState) -> Series:
        """Restore a series; raise ValueError if `known` cannot be its state."""
        made = cls(spec)
        made._seasonal = Seasonal.restore(spec.seasons, known.steps, known.outliers, known.seasonal)
        made._intervals = Intervals.restore(
            spec.horizon, spec.coverage, known.counts, known.numbers, known.latest
        )
        if len(known.waiting) > spec.horizon:
            raise ValueError(f"{len(known.waiting)} forecasts wait; expected {spec.horizon} at most")
        made._waiting.extend(floats(each, spec.horizon, _LARGEST) for each in known.waiting)
        if not len(known.evidence) == len(known.since) == len(known.quiet) == len(DIRECTIONS):
            raise ValueError("expected two directions")
        if not all(abs(step) <= _LARGEST_STEP for step in (*known.since, *known.quiet)):
            raise ValueError("a step is impossible")
        for evidence, total, since in zip(made._evidence, known.evidence, known.since, strict=True):
            evidence.restore(total, since)
        made._quiet, made.signed = list(known.quiet), known.signed
        return made


def _square(x: float) -> float:
    return x * abs(x)


def _expected(middle: float, scale: float) -> float:
    """Return the mean of x |x| for a normal x: (m^2 + s^2)(2 Phi(m/s) - 1) + 2 m s phi(m/s)."""
    z = middle / scale
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return (middle * middle + scale * scale) * math.erf(z / math.sqrt(2.0)) + 2.0 * middle * scale * density
