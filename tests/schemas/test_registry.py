"""Ids are for good; what one version wrote every other version reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas

FOLDER = Path(schemas.__file__).parent / "avro"
NAMES = sorted({name for name, _ in schemas.IDS})
LINE = {"product": "p1", "category": "fruit", "quantity": 2.0, "amount": 3.5, "discount": 0.5}
ORDER: dict[str, Any] = {
    "message_id": "m1",
    "time": 1_483_271_606_000,
    "kind": "order",
    "order_id": "o1",
    "amount": 3.5,
    "discount": 0.5,
    "lines": [LINE, {**LINE, "category": None}],
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "web_event": {
        "message_id": "m1",
        "time": 1,
        "kind": "view",
        "url": "/a",
        "product": "p",
        "category": None,
        "value": 2.5,
        "properties": {"colour": "blue"},
    },
    "social_event": {
        "message_id": "m1",
        "time": 1,
        "kind": "ticket",
        "channel": "chat",
        "sentiment": -0.5,
        "rating": None,
        "text": "späť",
        "topics": ["billing", "app"],
        "complaint": True,
        "churn_intent": False,
    },
    "correction": {
        "id": "i",
        "message_id": "m1",
        "time": 1,
        "text": "Na super",
        "language": "de",
        "sentiment": -0.5,
        "labels": {"complaint": True, "app": False},
        "by": None,
    },
    "sales_event": {**ORDER, "store": "s", "currency": "EUR"},
    "decision": {
        "id": "sales.events:0:7:churn-risk",
        "customer": "c",
        "policy": "churn-risk",
        "kind": "alert",
        "time": 1,
        "cause": "order",
        "topic": "sales.events",
        "partition": 0,
        "offset": 7,
        "receipt": {"layout": -5, "snapshots": [3, 0], "scores": [0.5], "fields": [], "values": [1.0, 2.0]},
    },
    "training_example": {
        "id": "c:churn:1",
        "customer": "c",
        "model": "churn",
        "label": 1,
        "opened": 1,
        "due": 2,
        "label_time": 2,
        "score": 0.25,
        "snapshot": 3,
        "features": [0.5, 1.0],
        "layout": 7,
        "amount": 12.5,
    },
    "model_snapshot": {
        "model": "churn",
        "version": 3,
        "created": 1,
        "kind": "linear",
        "features": ["orders_1d"],
        "bias": 0.5,
        "weights": [1.0],
        "examples": 9,
        "metrics": {"auc": 0.75},
        "state": b"\0\1",
        "applied": {"0": 12},
        "mixing": [0.0, 0.5, 0.25, 0.25],
        "table": b"\0\0\0\0",
        "trees": b"\1",
        "contest": b"\2",
        "typical": [0.5],
    },
    "model_change": {"id": "i", "model": "churn", "to": "quick", "time": 1},
    "outcome": {
        "id": "i",
        "customer": "c",
        "offer": "win-back",
        "kind": "redeemed",
        "time": 1,
        "value": None,
        "type": "coupon",
    },
    "dead_letter": {
        "topic": "web.events",
        "partition": 1,
        "offset": 2,
        "reason": "no",
        "key": None,
        "value": b"\xff",
        "time": 1,
    },
    "forecast": {
        "forecast": "sales_by_day",
        "series": "total",
        "start": 1,
        "step_ms": 86_400_000,
        "coverage": 0.9,
        "steps": [{"expected": 2.0, "lower": 1.0, "upper": 3.5}],
    },
    "departure": {
        "id": "sales_by_day/total:below:1",
        "forecast": "sales_by_day",
        "series": "total",
        "direction": "below",
        "since": 1,
        "start": 1,
        "step_ms": 86_400_000,
        "value": 0.0,
        "expected": 2.0,
        "lower": 1.0,
        "upper": 3.5,
        "evidence": 1.5,
    },
    "recommendation": {"time": 1, "assortment": 3, "products": [{"product": "p", "score": 0.25}]},
}


def test_ids_are_pinned() -> None:
    assert schemas.IDS == {
        ("web_event", 1): 1,
        ("social_event", 1): 2,
        ("sales_event", 1): 3,
        ("sales_event", 2): 4,
        ("social_event", 2): 5,
        ("decision", 1): 10,
        ("training_example", 1): 11,
        ("model_snapshot", 1): 12,
        ("outcome", 1): 13,
        ("dead_letter", 1): 14,
        ("training_example", 2): 15,
        ("training_example", 3): 16,
        ("outcome", 2): 17,
        ("model_snapshot", 2): 18,
        ("model_change", 1): 19,
        ("forecast", 1): 20,
        ("departure", 1): 21,
        ("recommendation", 1): 22,
        ("correction", 1): 23,
    }


def test_every_schema_file_has_an_id_and_every_id_a_file() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.avsc")) == sorted(
        f"{n}.v{v}.avsc" for n, v in schemas.IDS
    )
    assert {*schemas.TOPICS.values(), "model_change"} == set(NAMES)  # it stands among the training examples
    for name, version in schemas.IDS:
        assert schemas.schema(name, version)["name"] == f"streamwise.{name}"


def test_the_current_version_is_the_last_one() -> None:
    assert schemas.versions("sales_event") == [1, 2]
    assert schemas.schema_id("sales_event") == 4
    assert schemas.schema_id("sales_event", 1) == 3
    assert schemas.schema("sales_event") == schemas.by_id(4)
    assert schemas.name_version(3) == ("sales_event", 1)


def test_the_kernels_rely_on_the_order_of_these_fields() -> None:
    def fields(name: str) -> str:
        return " ".join(field["name"] for field in schemas.schema(name)["fields"])

    assert fields("decision") == "id customer policy kind time cause topic partition offset receipt"
    assert (
        fields("training_example")
        == "id customer model label opened due label_time score snapshot features layout amount"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_record_comes_back_as_it_was(name: str) -> None:
    value = schemas.encode(name, EXAMPLES[name])
    assert value[0] == schemas.MAGIC
    assert int.from_bytes(value[1:5], "big") == schemas.schema_id(name)
    assert schemas.decode(value) == (name, EXAMPLES[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_version_reads_every_other_version(name: str) -> None:
    for reader in schemas.versions(name):
        for writer in schemas.versions(name):
            assert schemas.compatible(schemas.schema(name, reader), schemas.schema(name, writer)) == []


def test_what_version_1_wrote_reads_as_version_2() -> None:
    value = schemas.encode("sales_event", ORDER, version=1)
    assert value[:5] == b"\0\0\0\0\3"
    assert schemas.decode(value) == ("sales_event", {**ORDER, "store": None, "currency": ""})


def test_social_events_of_version_1_name_no_topic_and_raise_no_flag() -> None:
    said = {"message_id": "m", "time": 5, "kind": "email", "sentiment": -0.5, "text": "no"}
    record = schemas.decode(schemas.encode("social_event", said, version=1))[1]
    found = [record[name] for name in ("sentiment", "topics", "complaint", "churn_intent")]
    assert found == [-0.5, [], False, False]


def test_a_field_left_out_gets_its_default_and_an_unknown_one_is_refused() -> None:
    value = schemas.encode("web_event", {"message_id": "m", "time": 5, "kind": "page"})
    record = schemas.decode(value)[1]
    assert (record["url"], record["product"], record["properties"]) == ("", None, {})
    with pytest.raises(schemas.SchemaError, match=r"not a web_event: .*colour"):
        schemas.encode("web_event", {"message_id": "m", "time": 5, "kind": "page", "colour": "blue"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "gift"}, "gift"),
        ({"amount": "much"}, "much"),
        ({"order_id": None}, "order_id"),
        ({"time": 1 << 64}, "too large"),
        ({"message_id": "\ud800"}, "surrogates"),
    ],
)
def test_a_record_that_does_not_fit_is_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(schemas.SchemaError, match=f"not a sales_event: .*{says}") as caught:
        schemas.encode("sales_event", {**ORDER, **change})
    assert "\n" not in str(caught.value)


def test_unknown_names_versions_and_ids_say_what_is_known() -> None:
    with pytest.raises(schemas.SchemaError, match=r"unknown schema 'nope'; known are .*web_event"):
        schemas.schema("nope")
    with pytest.raises(schemas.SchemaError, match=r"web_event has no version 7; it has \[1\]"):
        schemas.schema("web_event", 7)
    with pytest.raises(schemas.SchemaError, match=r"unknown schema id 9; known are \[1, 2"):
        schemas.by_id(9)


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0", b"\1\0\0\0\1abc", b"\0\0\0\0\x63abc", b"\0\0\0\0\1"])
def test_bytes_that_are_no_record_raise_one_kind_of_error(value: bytes) -> None:
    with pytest.raises(schemas.SchemaError):
        schemas.decode(value)


@given(name=st.sampled_from(NAMES), body=st.binary(max_size=60))
def test_any_bytes_decode_or_raise_a_schema_error(name: str, body: bytes) -> None:
    try:
        found, record = schemas.decode(b"\0" + schemas.schema_id(name).to_bytes(4, "big") + body)
    except schemas.SchemaError:
        return
    assert (found, set(record)) == (name, {field["name"] for field in schemas.schema(name)["fields"]})
