"""Forecasts of the sums of events, updated as they arrive.

Events fall into steps (hours, days) by event time. A step closes when an event arrives that is `lateness` younger than
its end. The forecaster then learns its sums, zero if it has no events, and forecasts the next steps anew. Only events
move the clock, so the same events give the same forecasts, departures and state, byte for byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from streams.errors import Poison

from .config import TOTAL, ForecastSpec
from .series import Left, Outlook, Series, SeriesState

OTHER: Final = "other"

_ABSURD: Final = 1e12  # an amount beyond it is no measurement, and neither is NaN
_LARGEST_SUM: Final = 1e15
_OLDEST_MS: Final = 631_152_000_000  # 1990
_NEWEST_MS: Final = 4_102_444_800_000  # 2100: a time outside comes from a wrong clock

# An event more than two weeks off may have a wrong time. Only so many of them in a row are believed.
_FARTHEST_MS: Final = 14 * 86_400_000
_BELIEVED: Final = 10

# A trial of one short season finds the largest keys, among so many candidates.
_CANDIDATES: Final = 256
_KEY_LENGTH: Final = 100

_FORMAT: Final = 1
_LARGEST_COUNT: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Forecast:
    """The outlook of one series of one forecast, for each step of `step_ms` from `start_ms` on."""

    name: str
    key: str
    start_ms: int
    step_ms: int
    steps: tuple[Outlook, ...]


@dataclass(frozen=True, slots=True)
class Departure:
    """A series outside its bounds on one side for longer than chance allows.

    The step that begins at `start_ms` completed the evidence and had `value`; the first step outside began at
    `since_ms`. `evidence` is in units of what an alarm takes.
    """

    name: str
    key: str
    direction: str
    since_ms: int
    start_ms: int
    value: float
    expected: float
    lower: float
    upper: float
    evidence: float


class _State(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    identity: str
    next: int | None
    closed: int
    learned: int
    strays: int
    counts: list[int]
    open: dict[int, dict[str, float]]
    trial: list[dict[str, float]] | None
    series: dict[str, SeriesState]


class Forecaster:
    """One declared forecast with all its series."""

    def __init__(self, spec: ForecastSpec) -> None:
        self.spec = spec
        self.series: dict[str, Series] = {}
        self.taken = 0  # events added to a step
        self.ignored = 0  # events whose amount or time is NaN, infinite or absurd
        self.late = 0  # events of a step that was closed, or that began before the first event
        self.strays = 0  # events too far off in time to be believed
        self._next: int | None = None  # the first open step
        self._closed = 0  # steps since the clock was set
        self._learned = 0  # all steps before this one are learned or skipped
        self._strays_in_row = 0
        self._open: dict[int, dict[str, float]] = {}
        # The closed steps of the trial, before it is known which keys get a series of their own.
        self._trial: list[dict[str, float]] | None = None if spec.by == TOTAL else []
        self._farthest = _FARTHEST_MS // spec.step_ms

    def add(self, time_ms: int, key: str, value: float = 1.0) -> list[Departure]:
        """Add one event's amount under `key` (ignored if the total is forecast).

        Return the departures of the steps that it closes.
        """
        # The comparisons are false for NaN.
        if not (_OLDEST_MS <= time_ms <= _NEWEST_MS and -_ABSURD <= value <= _ABSURD):
            self.ignored += 1
            return []
        step = int(time_ms - self.spec.offset_ms) // self.spec.step_ms
        if self._next is None:
            self._next = step + 1  # this step began before the first event, so its sum would be incomplete
        if self._strays(step):
            self._strays_in_row += 1
            if self._strays_in_row < _BELIEVED:
                self.strays += 1
                return []
            departures = self._leap(step)
        else:
            self._strays_in_row = 0
            departures = self._close(time_ms)
        if step < self._next:
            self.late += 1
            return departures
        self.taken += 1
        sums = self._open.setdefault(step, {})
        name = self._name(key, sums)
        total = sums.get(name, 0.0) + value
        sums[name] = max(-_LARGEST_SUM, min(_LARGEST_SUM, total))
        return departures

    def advance(self, time_ms: int) -> list[Departure]:
        """Close the steps that end `lateness` before `time_ms`, for an idle source with no events waiting."""
        if self._next is None or not _OLDEST_MS <= time_ms <= _NEWEST_MS:
            return []
        step = int(time_ms - self.spec.offset_ms) // self.spec.step_ms
        if step - self._next > self._farthest:
            return self._leap(step)
        return self._close(time_ms)

    def forecasts(self) -> list[Forecast]:
        """Return the forecast of every series that has one, from the first open step on."""
        if self._next is None:
            return []
        start_ms = self._start_ms(self._next)
        return [
            Forecast(self.spec.name, key, start_ms, self.spec.step_ms, tuple(series.outlook()))
            for key, series in self.series.items()
            if series.ready
        ]

    @property
    def hushed(self) -> int:
        """Return how many departures were suppressed, because the series had reported one shortly before."""
        return sum(series.hushed for series in self.series.values())

    # -- the clock ---------------------------------------------------------------------------------------

    def _strays(self, step: int) -> bool:
        """Return whether `step` is too far off for a single event to be believed."""
        assert self._next is not None
        ahead = step - self._next
        if ahead < -self._farthest:
            # The clock is turned back only if no step has closed since it was set.
            return not self._closed and step >= self._learned
        return ahead > self._farthest

    def _leap(self, step: int) -> list[Departure]:
        """Jump to `step`. The open steps close with the sums they have; the steps in between are unknown."""
        assert self._next is not None
        departures = []
        if step > self._next:
            for number in range(self._next, max(self._open, default=self._next - 1) + 1):
                departures += self._learn(number)
            for series in self.series.values():
                series.pause(step - self._next)
        if self._trial is not None:
            self._trial = []  # the steps of a trial must be consecutive
        self._open.clear()
        self._next, self._closed, self._strays_in_row = step + 1, 0, 0
        return departures

    def _close(self, time_ms: int) -> list[Departure]:
        assert self._next is not None
        departures: list[Departure] = []
        while self._start_ms(self._next + 1) + self.spec.lateness_ms <= time_ms:
            departures += self._learn(self._next)
        return departures

    def _start_ms(self, step: int) -> int:
        return step * self.spec.step_ms + self.spec.offset_ms

    # -- series ------------------------------------------------------------------------------------------

    def _name(self, key: str, sums: dict[str, float]) -> str:
        """Return the series that a key counts in."""
        if self.spec.by == TOTAL:
            return TOTAL
        key = key[:_KEY_LENGTH]
        if self._trial is None:
            if key in self.series or len(self.series) < self.spec.series:
                self.series.setdefault(key, Series(self.spec))
                return key
            return OTHER
        return key if key in sums or len(sums) < _CANDIDATES else OTHER

    def _learn(self, step: int) -> list[Departure]:
        """Close one step."""
        sums = self._open.pop(step, {})
        self._next = self._learned = step + 1
        self._closed += 1
        if self._trial is None:
            return self._learn_sums(step, sums)
        self._trial.append(sums)
        if len(self._trial) < self.spec.seasons[0]:
            return []
        trial, self._trial = self._trial, None
        self._choose(trial)
        departures: list[Departure] = []
        for number, found in enumerate(trial, step + 1 - len(trial)):
            departures += self._learn_sums(number, self._folded(found))
        self._open = {number: self._folded(found) for number, found in self._open.items()}
        return departures

    def _learn_sums(self, step: int, sums: dict[str, float]) -> list[Departure]:
        for key in sums:
            if key not in self.series:
                self.series[key] = Series(self.spec)
        found = ((key, series.learn(step, sums.get(key, 0.0))) for key, series in self.series.items())
        return [self._departure(key, left) for key, left in found if left is not None]

    def _choose(self, trial: list[dict[str, float]]) -> None:
        """Give the largest keys a series of their own."""
        sizes: dict[str, float] = {}
        for sums in trial:
            for key, value in sums.items():
                sizes[key] = sizes.get(key, 0.0) + abs(value)
        sizes.pop(OTHER, None)
        for key in sorted(sizes, key=lambda key: (-sizes[key], key))[: self.spec.series]:
            self.series[key] = Series(self.spec)

    def _folded(self, sums: dict[str, float]) -> dict[str, float]:
        """Return the sums with all keys that have no series of their own added up as `other`."""
        folded = {key: value for key, value in sums.items() if key in self.series}
        rest = [value for key, value in sums.items() if key not in self.series]
        if rest:
            folded[OTHER] = math.fsum(rest)
        return folded

    def _departure(self, key: str, left: Left) -> Departure:
        since_ms, start_ms = self._start_ms(left.since), self._start_ms(left.step)
        return Departure(
            self.spec.name,
            key,
            left.direction,
            since_ms,
            start_ms,
            left.value,
            *left.outlook,
            left.evidence,
        )

    # -- state -------------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """Return plain data (MessagePack) from which `restore` continues bit for bit."""
        state = _State(
            format=_FORMAT,
            identity=self.spec.identity,
            next=self._next,
            closed=self._closed,
            learned=self._learned,
            strays=self._strays_in_row,
            counts=[self.taken, self.ignored, self.late, self.strays],
            open=self._open,
            trial=self._trial,
            series={key: series.state() for key, series in self.series.items()},
        )
        return msgspec.msgpack.encode(state)

    @classmethod
    def restore(cls, spec: ForecastSpec, state: bytes) -> Forecaster:
        """Continue from `state`; raise Poison if it is not valid, or of a forecast declared otherwise."""
        made = cls(spec)
        try:
            known = msgspec.msgpack.decode(state, type=_State)
            made._take_up(known)
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise Poison(f"not the state of forecast {spec.name}: {error}") from error
        return made

    def _take_up(self, known: _State) -> None:
        if known.format != _FORMAT:
            raise ValueError(f"expected format {_FORMAT}, got {known.format}")
        if known.identity != self.spec.identity:
            raise ValueError(f"it was declared as {known.identity}, not as {self.spec.identity}")
        counts = (*known.counts, known.closed, known.learned, known.strays)
        if len(known.counts) != 4 or not all(0 <= count <= _LARGEST_COUNT for count in counts):
            raise ValueError("a count is negative or too large")
        if known.next is None and (known.open or known.series):
            raise ValueError("there are series, but no clock")
        latest_ms = (*known.open, *(() if known.next is None else (known.next,)))
        if not all(0 <= self._start_ms(step) <= 2 * _NEWEST_MS for step in latest_ms):
            raise ValueError("a step is impossible")
        if len(known.open) > 2 * self._farthest + 2 + self.spec.lateness_ms // self.spec.step_ms:
            raise ValueError(f"{len(known.open)} open steps")
        if len(known.series) > self.spec.series + 1:
            raise ValueError(f"{len(known.series)} series; expected {self.spec.series + 1} at most")
        if known.trial is not None and (self.spec.by == TOTAL or len(known.trial) >= self.spec.seasons[0]):
            raise ValueError("the trial is impossible")
        for sums in (*known.open.values(), *(known.trial or ())):
            if not all(abs(value) <= _LARGEST_SUM for value in sums.values()):
                raise ValueError("a sum is too large or not a number")
        self.taken, self.ignored, self.late, self.strays = known.counts
        self._next, self._closed, self._strays_in_row = known.next, known.closed, known.strays
        self._learned = known.learned
        self._open, self._trial = known.open, known.trial
        self.series = {key: Series.restore(self.spec, each) for key, each in known.series.items()}
