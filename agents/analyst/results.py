"""Sends the analyst's results to their topics: forecasts, departures, recommendations."""

from __future__ import annotations

from typing import Any

import schemas
from models.forecasting import Departure, Forecast
from models.recommendation import Recommended
from schemas.topics import DEPARTURES, FORECASTS, RECOMMENDATIONS
from streams.kafka import Outputs

from .analysis import Analysis, departure_id, forecast_key


class Results:
    """Sends new results. `recommended`: recommendations sent since the start of this process."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self.recommended = 0

    def send(self, analysis: Analysis) -> list[bytes]:
        """Queue all results that changed; return the customers whose recommendations changed."""
        departures = [
            {"key": forecast_key(found), "value": encoded_departure(found, analysis)}
            for found in analysis.take_departures()
        ]
        forecasts = [
            {"key": key, "value": None if found is None else encoded_forecast(found, analysis)}
            for key, found in analysis.take_forecasts().items()
        ]
        taken = analysis.shop.take_recommended()
        recommended = [
            {"key": key, "value": None if found is None else encoded_recommended(found)}
            for key, found in taken.items()
        ]
        self._send(DEPARTURES, departures)
        self._send(FORECASTS, forecasts)
        self._send(RECOMMENDATIONS, recommended)
        self.recommended += len(recommended)
        return list(taken)

    def _send(self, topic: str, messages: list[dict[str, Any]]) -> None:
        if messages:
            self._outputs.send(topic, messages)


def encoded_forecast(found: Forecast, analysis: Analysis) -> bytes:
    """Encode the value of a forecast's record."""
    spec = analysis.forecasters[found.name].spec
    steps = [dict(zip(("expected", "lower", "upper"), step, strict=True)) for step in found.steps]
    record = {"forecast": found.name, "series": found.key, "start": found.start_ms, "step_ms": found.step_ms}
    return schemas.encode("forecast", {**record, "coverage": spec.coverage, "steps": steps})


def encoded_departure(found: Departure, analysis: Analysis) -> bytes:
    """Encode the value of a departure's record."""
    record = {
        "id": departure_id(found),
        "forecast": found.name,
        "series": found.key,
        "direction": found.direction,
        "since": found.since_ms,
        "start": found.start_ms,
        "step_ms": analysis.forecasters[found.name].spec.step_ms,
    }
    numbers = ("value", "expected", "lower", "upper", "evidence")
    return schemas.encode("departure", record | {name: getattr(found, name) for name in numbers})


def encoded_recommended(found: Recommended) -> bytes:
    """Encode the value of a recommendation's record."""
    products = [{"product": name, "score": score} for name, score in found.products]
    record = {"time": found.time_ms, "assortment": found.version, "products": products}
    return schemas.encode("recommendation", record)
