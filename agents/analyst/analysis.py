"""The analyst's state: every declared forecast and the shop; both learn each event once, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.forecasting import (
    Amounts,
    Departure,
    Forecast,
    Forecaster,
    ForecastSpec,
    amounts,
    check_kinds,
    has_lines,
)
from models.recommendation import RecommendationState, RecommendSpec

_UNKNOWN: Final = ()  # stands for a forecast that an earlier process published


class Analysis:
    """Learns events into the forecasts and the shop's recommendations.

    `sources`: the schema of each topic that events come from. `events`, `baskets`: how many events and orders it has
    learned. `departed`: how many departures were taken.
    """

    def __init__(
        self, forecasts: Sequence[ForecastSpec], shop: RecommendSpec, sources: Mapping[str, str]
    ) -> None:
        self.topics = sorted({shop.topic, *(spec.topic for spec in forecasts)})
        named = [(spec.topic, spec.place) for spec in forecasts]
        for topic, place in (*named, (shop.topic, shop.place)):
            if topic not in sources:
                expected = f"expected a source of features.yaml, one of {', '.join(sources)}"
                raise place.error(f"topic: {expected}, got {topic!r}", "topic")
        if not has_lines(sources[shop.topic]):
            raise shop.place.error(
                f"topic: expected one whose events have lines of products, got {shop.topic!r}", "topic"
            )
        check_kinds(sources[shop.topic], shop.kinds, shop.place, shop.topic)
        self.shop = RecommendationState(shop)
        self.forecasters = {spec.name: Forecaster(spec) for spec in forecasts}
        self.events = self.baskets = self.departed = 0
        self._measures: dict[str, Amounts] = {
            spec.name: amounts(spec, sources[spec.topic]) for spec in forecasts
        }
        self._kinds = frozenset(shop.kinds)
        self._departures: list[Departure] = []
        self._published: dict[bytes, Forecast | tuple[()]] = {}

    def apply(self, topic: str, customer: bytes, record: Mapping[str, Any]) -> None:
        """Learn one event."""
        self.events += 1
        time_ms = record["time"]
        for name, forecaster in self.forecasters.items():
            if forecaster.spec.topic == topic:
                for key, value in self._measures[name](record):
                    self._departures += forecaster.add(time_ms, key, value)
        if topic == self.shop.spec.topic and record["kind"] in self._kinds:
            self.baskets += self.shop.learn(customer, record["lines"], time_ms)

    def advance(self, time_ms: int) -> None:
        """Close the steps up to `time_ms`: no event is waiting, and none older than this comes any more."""
        for forecaster in self.forecasters.values():
            self._departures += forecaster.advance(time_ms)

    def take_departures(self) -> list[Departure]:
        """Return the departures since the last call."""
        found, self._departures = self._departures, []
        self.departed += len(found)
        return found

    def take_forecasts(self) -> dict[bytes, Forecast | None]:
        """Return by key the forecasts that changed since the last call; None for a series that no longer exists."""
        now = {
            forecast_key(found): found
            for forecaster in self.forecasters.values()
            for found in forecaster.forecasts()
        }
        changed: dict[bytes, Forecast | None] = {k: f for k, f in now.items() if self._published.get(k) != f}
        changed.update((key, None) for key in self._published if key not in now)
        self._published = dict(now)
        return changed

    @property
    def published(self) -> list[bytes]:
        """The keys of the forecasts taken so far that still exist."""
        return list(self._published)

    @published.setter
    def published(self, keys: Sequence[bytes]) -> None:
        self._published = dict.fromkeys(keys, _UNKNOWN)


def forecast_key(found: Forecast | Departure) -> bytes:
    """Return the key of a series in its topic."""
    return f"{found.name}/{found.key}".encode("utf-8", "surrogatepass")


def departure_id(found: Departure) -> str:
    """Return an id that is the same whenever the same events are learned."""
    return f"{found.name}/{found.key}:{found.direction}:{found.start_ms}"
