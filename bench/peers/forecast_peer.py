"""Forecasts with models of statsforecast, refitted at every origin. Reads series and writes forecasts as JSON.

In: {"level": 90, "series": [{"name", "values", "seasons", "first", "horizon", "history"}]}. An origin is each
`horizon`-th step from `first` on; a model sees the `history` values before it and forecasts the next `horizon`.
Out: {name: {model: {"mean": [...], "low": [...], "high": [...], "seconds": s}}}, from `first` on.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from statsforecast.models import MSTL, AutoETS, SeasonalNaive


def models(seasons: list[int]) -> dict[str, Any]:
    """Return the models by their names in reports. AutoETS takes the shortest season."""
    return {
        "AutoETS": AutoETS(season_length=min(seasons)),
        "MSTL": MSTL(season_length=seasons if len(seasons) > 1 else seasons[0]),
        "SeasonalNaive": SeasonalNaive(season_length=max(seasons)),
    }


def rolled(model: Any, series: dict[str, Any], level: int) -> dict[str, Any]:
    """Forecast every step from `first` on; at each origin, fit the model to the values before it."""
    values = np.asarray(series["values"], dtype=np.float64)
    found: dict[str, Any] = {"mean": [], "low": [], "high": []}
    began = time.perf_counter()
    for origin in range(series["first"], len(values), series["horizon"]):
        steps = min(series["horizon"], len(values) - origin)
        seen = values[max(0, origin - series["history"]) : origin]
        done = model.forecast(y=seen, h=steps, level=[level])
        for key, column in (("mean", "mean"), ("low", f"lo-{level}"), ("high", f"hi-{level}")):
            found[key] += done[column].tolist()
    return {**found, "seconds": time.perf_counter() - began}


def main() -> None:
    """Forecast every series of the input."""
    work = json.load(sys.stdin)
    done = {}
    for series in work["series"]:
        done[series["name"]] = {
            name: rolled(model, series, work["level"]) for name, model in models(series["seasons"]).items()
        }
        print(f"statsforecast: {series['name']} done", file=sys.stderr, flush=True)
    json.dump(done, sys.stdout)


if __name__ == "__main__":
    main()
