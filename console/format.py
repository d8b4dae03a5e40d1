"""Formats numbers, ages and times for readers of the page. Unknown values (None, NaN) become a dash."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

UNKNOWN = "–"
LARGE = 100_000_000  # from here on the last digits are no use at a glance
# (upper bound in s, unit in s, name of the unit)
_AGES = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (86400.0, 3600.0, "h"), (math.inf, 86400.0, "d"))


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def count(value: Any) -> str:
    """1234567 -> 1,234,567"""
    return f"{value:,.0f}" if _known(value) else UNKNOWN


def large(value: Any) -> str:
    """A count that has to stay narrow: 47,400,000 but 1,234.5 M"""
    if _known(value) and abs(value) >= LARGE:
        return f"{value / 1e6:,.1f} M"
    return count(value)


def number(value: Any) -> str:
    """Any number with its significant digits: 12, 0.0312, 1,234.5; anything else as it is."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    size = abs(value)
    if value == int(value) and size < 1e15:
        return f"{int(value):,}"
    if size >= 1e15 or size < 1e-4:
        return f"{value:.3g}"
    decimals = max(1, 3 - math.floor(math.log10(size))) if size < 1000 else 1
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".")


def share(value: Any) -> str:
    """A probability, AUC or log-loss with three decimals."""
    return f"{value:.3f}" if _known(value) else UNKNOWN


def age(seconds: Any) -> str:
    """0.4 -> 0.4 s, 90 -> 1.5 min"""
    if not _known(seconds):
        return UNKNOWN
    per, unit = next((per, unit) for bound, per, unit in _AGES if abs(seconds) < bound)
    return f"{seconds / per:.1f} {unit}"


def stamp(time_ms: Any) -> str:
    """A time since the epoch as `2017-03-04 14:03:22` (UTC)."""
    when = _when(time_ms)
    return when.strftime("%Y-%m-%d %H:%M:%S") if when else UNKNOWN


def day(time_ms: Any) -> str:
    """The date of `stamp`."""
    return stamp(time_ms).partition(" ")[0]


def clock(time_ms: Any) -> str:
    """The time of day of `stamp`."""
    return stamp(time_ms).rpartition(" ")[2]


def iso(time_ms: Any) -> str:
    """A time since the epoch in ISO 8601, for machines."""
    when = _when(time_ms)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else ""


def _when(time_ms: Any) -> datetime | None:
    if not _known(time_ms):
        return None
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


FILTERS = {f.__name__: f for f in (count, large, number, share, age, stamp, day, clock, iso)}
