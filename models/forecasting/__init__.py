"""Forecasts of sums by hour or day, their bounds and departures (step 10).

Promises: bounds hold as often as they say (adaptive conformal); bounded memory for each series.
"""

from .config import DAY_MS, HOUR_MS, TOTAL, ForecastSpec, load_forecasts
from .forecaster import Departure, Forecast, Forecaster
from .measure import Amounts, amounts, check_kinds, has_lines

__all__ = [
    "DAY_MS",
    "HOUR_MS",
    "TOTAL",
    "Amounts",
    "Departure",
    "Forecast",
    "ForecastSpec",
    "Forecaster",
    "amounts",
    "check_kinds",
    "has_lines",
    "load_forecasts",
]
