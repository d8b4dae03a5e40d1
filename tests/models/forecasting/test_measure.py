"""What an event adds to a forecast, and the files that say what is analysed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from models.forecasting.config import DAY_MS, TOTAL, ForecastSpec
from models.forecasting.measure import amounts
from models.recommendation.config import load_recommendations
from models.recommendation.shopper import OWNED, CustomerItems
from streams.errors import ConfigError, Fatal, Poison

SPEC = ForecastSpec(
    "s", "sales.events", ("order",), "amount", TOTAL, 1, DAY_MS, 1, 0.9, 0, 0, 365 * DAY_MS, DAY_MS
)
LINES = [
    {"product": "p", "category": "x", "quantity": 2.0, "amount": 3.0},
    {"product": "q", "category": None, "quantity": 1.0, "amount": 4.0},
]
ORDER = {"kind": "order", "amount": 7.5, "store": "s1", "lines": LINES}


@pytest.mark.parametrize(
    ("field", "by", "wanted"),
    [
        ("amount", TOTAL, [("", 7.5)]),
        ("amount", "store", [("s1", 7.5)]),
        (None, TOTAL, [("", 1.0)]),
        (None, "category", [("x", 1.0), ("", 1.0)]),
        ("amount", "category", [("x", 3.0), ("", 4.0)]),
        ("quantity", TOTAL, [("", 2.0), ("", 1.0)]),
        ("quantity", "store", [("s1", 2.0), ("s1", 1.0)]),
    ],
)
def test_where_a_line_has_the_field_lines_are_measured(
    field: str | None, by: str, wanted: list[tuple[str, float]]
) -> None:
    measured = amounts(replace(SPEC, field=field, by=by), "sales_event")
    assert list(measured(ORDER)) == wanted
    assert list(measured({**ORDER, "kind": "return"})) == []


def test_what_is_no_number_is_nan_which_the_forecast_ignores() -> None:
    ((_, value),) = amounts(replace(SPEC, topic="web.events", field="value", kinds=("view",)), "web_event")(
        {"kind": "view", "value": None}
    )
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"field": "weight"}, "has no field weight; expected one of amount"),
        ({"by": "shop"}, "has no field shop"),
        ({"by": "category", "field": "store"}, "has no field store; expected one of amount, category"),
        ({"kinds": ("orders",)}, "has no kind orders; expected one of order, return"),
    ],
)
def test_a_field_or_kind_that_events_do_not_have_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(Fatal, match=said):
        amounts(replace(SPEC, **given), "sales_event")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top: 10", "missing key 'baskets'"),
        ("baskets: {topic: t, kinds: []}", "kinds: expected at least one"),
        (
            "baskets: {topic: t, kinds: [order]}\ntop: 0",
            ":2: top: expected a whole number from 1 to 100, got 0",
        ),
        ("baskets: {topic: t, kinds: [order]}\nnever: x", ":2: never: expected a list of names, got 'x'"),
        ("baskets: {topic: t, kinds: [order]}\nout_of_stock: gone.txt", "there is no file"),
    ],
)
def test_a_mistake_in_the_rules_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recommendations.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_recommendations(path)


def test_a_customers_list_comes_back_bit_for_bit() -> None:
    shopper = CustomerItems()
    shopper.recent[:5] = [1.6e12, 2.5, 7.0, 0.0, 11.0]
    shopper.recent[66:69] = [1.5, 0.0, 0.25]
    shopper.own(range(1, OWNED + 3))
    shopper.own([5])
    assert shopper.owned[-1] == 5
    assert len(shopper.owned) == OWNED
    again = CustomerItems.from_bytes(shopper.to_bytes())
    assert (again.recent.tobytes(), again.owned) == (shopper.recent.tobytes(), shopper.owned)
    assert len(CustomerItems().to_bytes()) == 24


@pytest.mark.parametrize("cut", [3, 8, 24, 40])
def test_a_list_that_is_cut_short_is_refused(cut: int) -> None:
    shopper = CustomerItems()
    shopper.recent[:4] = [1.6e12, 2.5, 7.0, 9.0]
    shopper.recent[66:68] = 1.0
    with pytest.raises(Poison):
        CustomerItems.from_bytes(shopper.to_bytes()[:-cut])
