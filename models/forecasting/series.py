"""One series of a forecast: what comes next, between which bounds, and whether it has left them.

Numbers are square roots here (of the size, with the sign): sums of events spread the more the larger they are, and
their roots spread nearly evenly, by night and by day. Bounds keep their meaning under that; the expected number is
that of the square.
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
    """One step ahead: the number expected, and the bounds that `coverage` of the actual ones are within."""

    expected: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Left:
    """A series that has left its forecast: seen at `step`, away since `since`."""

    direction: str
    step: int
    since: int
    value: float
    outlook: Outlook
    evidence: float


class SeriesState(msgspec.Struct, forbid_unknown_fields=True):
    """Everything a series needs to go on as if undisturbed."""

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
    """Told of every step exactly once, in order."""

    def __init__(self, spec: ForecastSpec) -> None:
        self._horizon, self._coverage = spec.horizon, spec.coverage
        # Two short seasons come first: what is forecast without is no forecast.
        self._warm_up = 2 * spec.seasons[0]
        self._quiet_steps = -(-spec.quiet_ms // spec.step_ms)
        self.signed = False  # a number below zero was seen
        self.hushed = 0  # departures that were not told
        self._seasonal = Seasonal(spec.seasons)
        self._intervals = Intervals(spec.horizon, spec.coverage)
        self._waiting: deque[array[float]] = deque(maxlen=spec.horizon)  # forecasts made, the latest first
        # Both directions together may give one false alarm in that time.
        alarm_steps = 2.0 * spec.alarm_ms / spec.step_ms
        self._evidence = [Evidence(self._intervals.share, alarm_steps) for _ in DIRECTIONS]
        self._quiet = [0, 0]  # the first step that may tell a departure again

    @property
    def ready(self) -> bool:
        return bool(self._waiting)

    def learn(self, step: int, value: float) -> Left | None:
        """Learn the number of step `step`; returns the departure that it completes."""
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
        """`steps` steps of which nothing is known: what was forecast is never compared."""
        self._seasonal.pause(steps)
        self._waiting.clear()

    def outlook(self) -> list[Outlook]:
        """The steps ahead; empty while there is too little to tell from."""
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
        """Whether it is outside what is usual one step ahead: below, above."""
        middle, (lower, upper) = self._waiting[0][0], self._intervals.usual()
        return x < self._floored(middle + lower), x > self._floored(middle + upper)

    def _compare(self, x: float) -> None:
        """Learn from all that was forecast of this step."""
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
        """Raises ValueError where `known` cannot be the state of such a series."""
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
            raise ValueError("a step that cannot be")
        for evidence, total, since in zip(made._evidence, known.evidence, known.since, strict=True):
            evidence.restore(total, since)
        made._quiet, made.signed = list(known.quiet), known.signed
        return made


def _square(x: float) -> float:
    return x * abs(x)


def _expected(middle: float, scale: float) -> float:
    """The mean of x |x| where x is normal: (m^2 + s^2)(2 Phi(m/s) - 1) + 2 m s phi(m/s)."""
    z = middle / scale
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return (middle * middle + scale * scale) * math.erf(z / math.sqrt(2.0)) + 2.0 * middle * scale * density
