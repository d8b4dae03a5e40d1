"""What `config/forecasts.yaml` declares: the sums of events to forecast, and how."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from config.located_yaml import LocatedMapping, duration_ms, load

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
# Seasons in steps of each length, the shortest first: a day and a week of hours, a week of days.
SEASONS: Final = {HOUR_MS: (24, 168), DAY_MS: (7,)}

TOTAL: Final = "total"
MOST_STEPS: Final = 48  # of a horizon: the forecast of each step is stored until its actual value is known
MOST_SERIES: Final = 50
_COVERAGES: Final = (0.5, 0.99)


@dataclass(frozen=True, slots=True)
class ForecastSpec:
    """One forecast: events of `kinds` on `topic`, counted or with `field` summed, in steps of `step_ms`.

    `by` is the field whose values make the series, or `total`; the `series` largest values have their own series, the
    rest share `other`. A step begins `offset_ms` after an hour or a day of UTC, and closes `lateness_ms` after its
    end. `alarm_ms`: each series reports at most one false departure in this time, on average. `quiet_ms`: after a
    departure the series reports none in the same direction for this long. `place`: position in the file.
    """

    name: str
    topic: str
    kinds: tuple[str, ...]
    field: str | None
    by: str
    series: int
    step_ms: int
    horizon: int
    coverage: float
    lateness_ms: int
    offset_ms: int
    alarm_ms: int
    quiet_ms: int
    place: LocatedMapping = dataclasses.field(default_factory=LocatedMapping, compare=False, repr=False)

    @property
    def seasons(self) -> tuple[int, ...]:
        return SEASONS[self.step_ms]

    @property
    def identity(self) -> str:
        """Return what its numbers mean; a state learned under another identity is useless."""
        parts = (self.topic, *self.kinds, self.field, self.by, self.series, self.step_ms, self.horizon)
        return " ".join(map(str, (*parts, self.offset_ms)))


def load_forecasts(path: str | Path) -> tuple[ForecastSpec, ...]:
    """Read the file; a ConfigError names the line to correct and what was expected there.

    >>> from config.settings import Settings
    >>> spec = load_forecasts(Settings().config / "forecasts.yaml")[0]
    >>> spec.name, spec.field, spec.by, spec.horizon
    ('sales_by_day', 'amount', 'total', 7)
    """
    top = load(path)
    top.expect({"forecasts"}, {"forecasts"})
    items = top["forecasts"]
    if not isinstance(items, LocatedMapping) or not items:
        raise top.error("forecasts: expected a mapping of names to {topic, kinds, ...}", "forecasts")
    return tuple(_forecast(name, items[name], items) for name in items)


def _forecast(name: str, item: Any, items: LocatedMapping) -> ForecastSpec:
    if not name.isidentifier():
        raise items.error(f"forecast {name!r}: expected letters, digits and underscores", name)
    if not isinstance(item, LocatedMapping):
        raise items.error(f"{name}: expected a mapping with topic, kinds, measure, step and horizon", name)
    required = {"topic", "kinds", "measure", "step", "horizon"}
    item.expect(required | {"by", "series", "coverage", "lateness", "offset", "alarm", "quiet"}, required)
    step = _duration(item, "step", 0)
    if step not in SEASONS:
        raise item.error(f"step: expected 1h or 1d, got {item['step']!r}", "step")
    offset = _duration(item, "offset", 0)
    if offset >= step:
        raise item.error(f"offset: expected less than a step, got {item['offset']!r}", "offset")
    return ForecastSpec(
        name=name,
        topic=_text(item, "topic", None),
        kinds=_kinds(item),
        field=_measure(item),
        by=_text(item, "by", TOTAL),
        series=_whole(item, "series", 12, 1, MOST_SERIES),
        step_ms=step,
        horizon=_horizon(item, step),
        coverage=_coverage(item),
        lateness_ms=_duration(item, "lateness", 0),
        offset_ms=offset,
        alarm_ms=_at_least(item, "alarm", 365 * DAY_MS, 10 * step),
        quiet_ms=_duration(item, "quiet", DAY_MS),
        place=item,
    )


def _kinds(item: LocatedMapping) -> tuple[str, ...]:
    kinds = item["kinds"]
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise item.error(f"kinds: expected a list of event kinds such as [order], got {kinds!r}", "kinds")
    return tuple(kinds)


def _measure(item: LocatedMapping) -> str | None:
    measure = item["measure"]
    if measure == "count":
        return None
    field = measure.get("sum") if isinstance(measure, dict) and len(measure) == 1 else None
    if not isinstance(field, str) or not field:
        raise item.error(f"measure: expected count or {{sum: FIELD}}, got {measure!r}", "measure")
    return field


def _horizon(item: LocatedMapping, step: int) -> int:
    steps, rest = divmod(_duration(item, "horizon", 0), step)
    if rest or not 1 <= steps <= MOST_STEPS:
        raise item.error(
            f"horizon: expected 1 to {MOST_STEPS} whole steps such as 7d, got {item['horizon']!r}", "horizon"
        )
    return steps


def _coverage(item: LocatedMapping) -> float:
    value = item.get("coverage", 0.9)
    low, high = _COVERAGES
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise item.error(f"coverage: expected a number from {low} to {high}, got {value!r}", "coverage")
    return float(value)


def _whole(item: LocatedMapping, key: str, default: int, low: int, high: int) -> int:
    value = item.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise item.error(f"{key}: expected a whole number from {low} to {high}, got {value!r}", key)
    return value


def _text(item: LocatedMapping, key: str, default: str | None) -> str:
    value = item.get(key, default)
    if not isinstance(value, str) or not value:
        raise item.error(f"{key}: expected a name, got {value!r}", key)
    return value


def _duration(item: LocatedMapping, key: str, default: int) -> int:
    return int(duration_ms(item, key)) if key in item else default


def _at_least(item: LocatedMapping, key: str, default: int, least: int) -> int:
    value = _duration(item, key, default)
    if value < least:
        raise item.error(f"{key}: expected ten steps or more, got {item[key]!r}", key)
    return value
