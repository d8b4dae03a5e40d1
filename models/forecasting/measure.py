"""What an event adds to a forecast: amounts from its own fields, or from those of its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import schemas
from config.located_yaml import LocatedMapping

from .config import TOTAL, ForecastSpec

LINES = "lines"
Amounts = Callable[[Mapping[str, Any]], Iterator[tuple[str, float]]]


def amounts(spec: ForecastSpec, schema: str) -> Amounts:
    """Return a function from a record of `schema` to its amounts, (value of `by`, amount); none if of another kind.

    If `by` is a field of the lines, so is the measured field; without one, it counts lines. Raise `ConfigError` if the
    schema has no such fields or kinds.

    >>> from config.settings import Settings
    >>> from models.forecasting import load_forecasts
    >>> by_category = amounts(load_forecasts(Settings().config / "forecasts.yaml")[2], "sales_event")
    >>> list(by_category({"kind": "order", "lines": [{"category": "tea", "quantity": 2}]}))
    [('tea', 2.0)]
    """
    check_kinds(schema, spec.kinds, spec.place, f"forecast {spec.name}: {spec.topic}")
    own, lines = _fields(schema)
    by_lines = spec.by != TOTAL and spec.by not in own
    by_lines = by_lines or (spec.field is not None and spec.field not in own)
    known = {*own, *lines} if spec.by == TOTAL or spec.by in own else set(lines)
    for key, name, among in (("by", spec.by, {TOTAL, *own, *lines}), ("measure", spec.field, known)):
        if name is not None and name not in among:
            wanted = ", ".join(sorted(among - {TOTAL}))
            wrong = f"forecast {spec.name}: {spec.topic} has no field {name}; expected one of {wanted}"
            raise spec.place.error(wrong, key)
    kinds, field, by = frozenset(spec.kinds), spec.field, spec.by

    def measured(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        if record["kind"] not in kinds:
            return
        for part in record[LINES] if by_lines else (record,):
            name = part[by] if by in part else record.get(by)
            value = 1.0 if field is None else part.get(field)
            yield ("" if name is None else str(name)), _number(value)

    return measured


def check_kinds(schema: str, kinds: Sequence[str], place: LocatedMapping, where: str) -> None:
    """Raise `ConfigError` if events of `schema` cannot have one of `kinds`; the error names the line of `place`.

    >>> check_kinds("sales_event", ["sale"], LocatedMapping(), "demand: sales.events")
    Traceback (most recent call last):
        ...
    streams.errors.ConfigError: config:1: demand: sales.events has no kind sale; expected one of order, return, ...
    """
    types = (field["type"] for field in schemas.schema(schema)["fields"] if field["name"] == "kind")
    symbols = next(types)["symbols"]
    for kind in kinds:
        if kind not in symbols:
            wrong = f"{where} has no kind {kind}; expected one of {', '.join(symbols)}"
            raise place.error(wrong, "kinds")


def has_lines(schema: str) -> bool:
    """Return whether events of `schema` have lines.

    >>> has_lines("sales_event"), has_lines("web_event")
    (True, False)
    """
    return any(field["name"] == LINES for field in schemas.schema(schema)["fields"])


def _number(value: Any) -> float:
    # `Forecaster.add` counts NaN as ignored.
    return float(value) if isinstance(value, int | float) else float("nan")


def _fields(schema: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of a record's fields, and of those of its lines."""
    own: dict[str, Any] = {field["name"]: field["type"] for field in schemas.schema(schema)["fields"]}
    items = own[LINES]["items"] if LINES in own else {"fields": []}
    return list(own), [field["name"] for field in items["fields"]]
