"""A wrong mapping is one line that names file, line and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.files.mapping import read_mapping
from streams.errors import ConfigError

GOOD = """topic: web.events
customer: user
time: {column: at, unit: s}
kind: view
fields:
  product: item
"""


def read(folder: Path, text: str) -> str:
    """The error without the folder."""
    path = folder / "mapping.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_mapping(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


def test_a_good_mapping(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD)
    mapping = read_mapping(path)
    assert (mapping.topic, mapping.schema, mapping.kinds) == ("web.events", "web_event", {"": "view"})
    assert mapping.columns == {"user": 2, "at": 3, "item": 6}


def test_a_topic_of_any_name_with_a_schema(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD.replace("topic: web.events", "topic: clicks\nschema: web_event"))
    assert read_mapping(path).topic == "clicks"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("topic: web.events", "topic: web", "1: topic: expected one of ['offer.outcomes', 'sales.events', "),
        ("topic: web.events", "schema: web", "1: schema: expected one of ['outcome', 'sales_event', "),
        ("customer: user\n", "", "1: missing key 'customer'"),
        ("customer: user", "customer: [a]", "2: customer: expected the name of a column, got ['a']"),
        ("customer: user", "customers: user", "2: unknown key 'customers'; expected one of ["),
        ("unit: s", "unit: d", "3: unit: expected one of ['s', 'ms', 'us', 'ns'], got 'd'"),
        ("unit: s", "unit: s, format: x", "3: time: expected a unit or a format, got both"),
        ("unit: s", "zone: Nowhere", "3: zone: expected a name such as Europe/Paris, got 'Nowhere'"),
        ("column: at, ", "", "3: missing key 'column'"),
        ("kind: view", "kind: order", "4: kind: expected one of ['page', 'search', 'view', "),
        ("kind: view", "kind: {column: a, values: {pv: look}}", "4: pv: expected one of ['page', "),
        ("kind: view", "kind: {column: a, values: view}", "4: values: expected a mapping of values"),
        (
            "product: item",
            "colour: item",
            "6: fields: unknown field 'colour'; expected one of url, product, ",
        ),
        ("product: item", "properties: item", "6: fields: unknown field 'properties'; "),
        ("product: item", "product.a: item", "6: fields: unknown field 'product.a'; "),
        ("product: item", "value: {constant: much}", "6: value: expected a number, got 'much'"),
        ("product: item", "value: {}", "6: value: expected either a column or a constant"),
        ("  product: item", "  - item", "5: fields: expected a mapping of fields to columns"),
        (
            "kind: view",
            "kind: view\nformat: xls",
            "5: format: expected one of ['csv', 'json', 'parquet'], got 'xls'",
        ),
        ("kind: view", "kind: view\nseparator: ab", "5: separator: expected one character, got 'ab'"),
        (
            "kind: view",
            "kind: view\nencoding: klingon",
            "5: encoding: expected one that Python knows, got 'klingon'",
        ),
        ("kind: view", "kind: view\nheader: a", "5: header: expected a list of column names, got 'a'"),
        ("customer: user", "customer: user: x", "2: not valid YAML: "),
    ],
)
def test_a_wrong_one(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    assert read(tmp_path, GOOD.replace(old, new)).startswith(f"mapping.yaml:{says}")


def test_fields_that_the_schema_needs_are_named(tmp_path: Path) -> None:
    orders = GOOD.replace("web.events", "sales.events").replace("view", "order")
    text = orders.replace("product: item", "lines[].product: item")
    expected = (
        "5: fields: expected also amount, lines[].amount, lines[].quantity, order_id: sales_event needs them"
    )
    assert read(tmp_path, text) == f"mapping.yaml:{expected}"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml: cannot be read: No such file or directory"):
        read_mapping(tmp_path / "nope.yaml")
