"""CDNOW (Fader and Hardie 2001): all purchases of the customers who first bought at a music shop early in 1997.

The data come with the package lifetimes as a text file of customer, day, discs and dollars. This module reads the
file only and never imports the package, which is no longer maintained. A row becomes one `order` sales event with one
line. The file has days but no times: the rows of a day, in order of customer and file, get times that divide its hours
from 9 to 21 UTC evenly.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from pathlib import Path

import polars as pl

from ingest.source import Event
from schemas import encode
from streams.errors import Fatal

_PACKAGE = "lifetimes"
_VERSION = 1  # of the mapping below; part of the fingerprint
_SALES = "sales.events"
_HOUR_MS = 3_600_000
_OPENS_MS, _OPEN_MS = 9 * _HOUR_MS, 12 * _HOUR_MS


class Cdnow:
    """The source `cdnow`: 69,659 orders of 23,570 customers, January 1997 to June 1998."""

    name = "cdnow"
    topics = (_SALES,)

    def __init__(self) -> None:
        found = importlib.util.find_spec(_PACKAGE)  # not imported: that would import pandas
        if found is None or found.origin is None:
            raise ModuleNotFoundError(f"no module named {_PACKAGE!r}", name=_PACKAGE)
        self.folder = Path(found.origin).parent / "datasets"
        self._path = self.folder / "CDNOW_master.txt"

    @property
    def begins_ms(self) -> int:
        return int(self.purchases["time"][0])

    @property
    def total(self) -> int:
        return len(self.purchases)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((_VERSION, self._path.stat().st_size)).encode()).hexdigest()[:16]

    def events(self, start: int = 0) -> Iterator[Event]:
        """Yield the orders in order of time; no two have the same time."""
        rows = self.purchases[start:].select("customer", "time", "discs", "amount").iter_rows()
        for number, (customer, time_ms, discs, amount) in enumerate(rows, start):
            order = {
                "message_id": f"cdnow-{number}",
                "time": time_ms,
                "kind": "order",
                "order_id": str(number),
                "amount": amount,
                "discount": 0.0,
                "lines": [
                    {"product": "cd", "category": None, "quantity": discs, "amount": amount, "discount": 0.0}
                ],
                "store": None,
                "currency": "USD",
            }
            yield _SALES, customer.encode(), time_ms, encode("sales_event", order)

    @cached_property
    def purchases(self) -> pl.DataFrame:
        """One row an order, in order of time: customer, day, time (ms), discs, amount."""
        try:
            lines = self._path.read_text(encoding="ascii").splitlines()[1:]
            cells = [line.split() for line in lines]
            columns = {
                "customer": [row[0] for row in cells],
                "day": [date(int(row[1][:4]), int(row[1][4:6]), int(row[1][6:])) for row in cells],
                "discs": [float(row[2]) for row in cells],
                "amount": [float(row[3]) for row in cells],
            }
        except (OSError, ValueError, IndexError) as error:
            raise Fatal(f"{self._path.name}: cannot be read: {error}") from error
        rank = pl.int_range(pl.len()).over("day")
        opens = pl.col("day").cast(pl.Datetime("ms")).dt.timestamp("ms") + _OPENS_MS
        return (
            pl.DataFrame(columns)
            .sort("day", "customer", maintain_order=True)
            .with_columns((opens + rank * _OPEN_MS // pl.len().over("day")).alias("time"))
        )
