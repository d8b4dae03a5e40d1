"""Compares forecasts of sales one day ahead with statsforecast refitted daily: Complete Journey, last half-year.

    python -m bench.quality.forecast

Daily sales, in all and of the five largest categories, are forecast a day ahead. Hourly sales, in all and of the
largest category, are forecast at midnight for the next 24 hours, so that no forecast has seen a later hour. Days are in
UTC. The last day of the year is left out, as the data have only a part of it. Streamwise gets the events in order of
time and continues from what it has learned. AutoETS, MSTL and SeasonalNaive of statsforecast are refitted at each
origin: to all days before, and for hours to the last eight weeks, as AutoETS takes seconds per fit beyond that.

Figures: WAPE (sum of errors / sum of sales), MASE (errors / those of the seasonal naive forecast over the first half),
RMSE, bias (/ sum of sales), and for 90% intervals: coverage, mean width and interval score (Gneiting and Raftery 2007),
the last two as shares of the mean.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.harness import ROOT, keep, peers_python, say
from ingest.datasets import CompleteJourney
from models.forecasting import DAY_MS, HOUR_MS, TOTAL, Forecaster, ForecastSpec

COVERAGE: Final = 0.9
CATEGORIES: Final = 5
HOURLY_CATEGORIES: Final = 1
FIRST_DAY: Final = 182  # the first day of the last half
PEER_HOURS: Final = 8 * 7 * 24
PEER_TIMEOUT_S: Final = 3600.0

DAYS: Final = ForecastSpec(
    "days", "sales.events", ("order",), "amount", TOTAL, 1, DAY_MS, 1, COVERAGE, 0, 0, 365 * DAY_MS, DAY_MS
)
HOURS: Final = replace(DAYS, name="hours", step_ms=HOUR_MS, horizon=24)

Numbers = NDArray[np.float64]


def sales() -> pl.DataFrame:
    """Return time (ms), category and amount of each line, in order of time, without the incomplete last day."""
    journey = CompleteJourney()
    lines = journey.lines_by_category().sort("time", maintain_order=True)
    last = lines["time"].max()
    assert isinstance(last, int)
    return lines.filter(pl.col("time") < last // DAY_MS * DAY_MS)


def run() -> dict[str, Any]:
    """Return the figures of Streamwise and of each peer, by series."""
    lines = sales()
    begin = int(lines["time"][0]) // DAY_MS
    early = lines.filter(pl.col("time") < (begin + FIRST_DAY) * DAY_MS)
    top = early.group_by("category").agg(pl.col("amount").sum()).sort("amount", descending=True)
    names = top["category"].head(CATEGORIES).to_list()
    work, ours = [], {}
    for spec, categories in ((DAYS, names), (HOURS, names[:HOURLY_CATEGORIES])):
        wanted = {TOTAL: lines, **{name: lines.filter(pl.col("category") == name) for name in categories}}
        for name, part in wanted.items():
            series = _series(part, spec, begin, f"{spec.name}: {name.lower()}")
            work.append(series)
            ours[series["name"]] = _streamwise(part, spec, begin, series)
            say(f"streamwise: {series['name']} done")
    peers = _peers(work)
    return {
        series["name"]: {
            name: _figures(series, found)
            for name, found in {"streamwise": ours[series["name"]], **peers[series["name"]]}.items()
        }
        for series in work
    }


def _series(lines: pl.DataFrame, spec: ForecastSpec, begin: int, name: str) -> dict[str, Any]:
    """Return the sums of all steps, and the task of a peer on them."""
    steps_a_day = DAY_MS // spec.step_ms
    steps = lines["time"].to_numpy() // spec.step_ms - begin * steps_a_day
    count = int(-(-(steps.max() + 1) // steps_a_day) * steps_a_day)
    return {
        "name": name,
        "values": np.bincount(steps, weights=lines["amount"].to_numpy(), minlength=count).tolist(),
        "seasons": list(spec.seasons),
        "first": FIRST_DAY * steps_a_day,
        "horizon": steps_a_day,
        "history": count if steps_a_day == 1 else PEER_HOURS,
    }


def _streamwise(
    lines: pl.DataFrame, spec: ForecastSpec, begin: int, series: dict[str, Any]
) -> dict[str, Any]:
    """Return the forecasts at each origin, from the events before it."""
    found: dict[str, list[float]] = {"mean": [], "low": [], "high": []}
    forecaster, steps_a_day = Forecaster(spec), DAY_MS // spec.step_ms
    began, departures = time.perf_counter(), 0
    rows, row = list(lines.select("time", "amount").iter_rows()), 0
    for day in range(len(series["values"]) // steps_a_day):
        start_ms = (begin + day) * DAY_MS
        departures += len(forecaster.advance(start_ms))
        if day >= FIRST_DAY:
            (forecast,) = forecaster.forecasts()
            assert forecast.start_ms == start_ms
            for outlook in forecast.steps:
                for key, value in zip(("mean", "low", "high"), outlook, strict=True):
                    found[key].append(value)
        while row < len(rows) and rows[row][0] < start_ms + DAY_MS:
            departures += len(forecaster.add(rows[row][0], "", rows[row][1]))
            row += 1
    return {**found, "seconds": time.perf_counter() - began, "departures": departures}


def _peers(work: list[dict[str, Any]]) -> dict[str, Any]:
    python = peers_python("forecast_requirements.txt", "forecast")
    done = subprocess.run(
        [python, str(Path("bench") / "peers" / "forecast_peer.py")],
        cwd=ROOT,
        input=json.dumps({"level": round(100 * COVERAGE), "series": work}),
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        timeout=PEER_TIMEOUT_S,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _figures(series: dict[str, Any], found: dict[str, Any]) -> dict[str, float]:
    values, first = np.array(series["values"]), series["first"]
    actual, season = values[first:], max(series["seasons"])
    said, low, high = (np.array(found[key]) for key in ("mean", "low", "high"))
    naive = np.mean(np.abs(values[season:first] - values[: first - season]))
    outside = np.maximum(low - actual, 0.0) + np.maximum(actual - high, 0.0)
    score = high - low + 2.0 / (1.0 - COVERAGE) * outside
    figures = {
        "wape": np.abs(said - actual).sum() / actual.sum(),
        "mase": np.mean(np.abs(said - actual)) / naive,
        "rmse": np.sqrt(np.mean((said - actual) ** 2)),
        "bias": (said - actual).sum() / actual.sum(),
        "coverage": np.mean((low <= actual) & (actual <= high)),
        "width": np.mean(high - low) / actual.mean(),
        "interval_score": np.mean(score) / actual.mean(),
        "steps": len(actual),
        "seconds": found["seconds"],
    }
    kept = {name: round(float(value), 4) for name, value in figures.items()}
    return {**kept, "departures": found["departures"]} if "departures" in found else kept


def main() -> int:
    """Measure, store the figures for the page, print them as one line of JSON."""
    figures = run()
    keep("model_forecast", figures)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
