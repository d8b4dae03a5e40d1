"""Forecasts of sums by hour or day, with bounds, and departures from them (step 10).

Promises: bounds reach their declared coverage (adaptive conformal inference); each series has bounded memory.
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
