"""The data of the page of forecasts: the newest forecast of each series, and the newest departures."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

DEPARTURES = 50


class ForecastBoard:
    """A thread-safe holder of records of the schemas `forecast` and `departure`."""

    def __init__(self, departures: int = DEPARTURES) -> None:
        self._lock = threading.Lock()
        self._forecasts: dict[bytes, Mapping[str, Any]] = {}
        self._departures: deque[Mapping[str, Any]] = deque(maxlen=departures)

    def put(self, key: bytes, forecast: Mapping[str, Any] | None) -> None:
        """Replace the forecast of a series; None removes the series."""
        with self._lock:
            if forecast is None:
                self._forecasts.pop(key, None)
            else:
                self._forecasts[key] = forecast

    def add_departure(self, departure: Mapping[str, Any]) -> None:
        """Add a departure, unless its id is already there."""
        with self._lock:
            if all(departure["id"] != other["id"] for other in self._departures):
                self._departures.appendleft(departure)

    def snapshot(self) -> dict[str, Any]:
        """Return `forecasts` (by name, lists of series: `total` first, `other` last) and `departures`, newest first."""
        with self._lock:
            forecasts, departures = list(self._forecasts.values()), list(self._departures)
        named: dict[str, list[Mapping[str, Any]]] = {}
        for forecast in sorted(forecasts, key=_order):
            named.setdefault(forecast["forecast"], []).append(forecast)
        return {"forecasts": named, "departures": departures}


def _order(forecast: Mapping[str, Any]) -> tuple[str, int, str]:
    series = forecast["series"]
    return forecast["forecast"], {"total": 0, "other": 2}.get(series, 1), series
