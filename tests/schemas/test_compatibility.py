"""The rules of Avro's schema resolution, each with a pair that keeps it and one that breaks it."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest

import schemas
from schemas import compatible


def record(*fields: dict[str, Any], name: str = "r") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def one(kind: Any, **more: Any) -> dict[str, Any]:
    return record({"name": "a", "type": kind, **more})


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "e", "symbols": list(symbols), **more}


KEPT = {
    "the same": (one("long"), one("long")),
    "a field added with a default": (record({"name": "a", "type": "int", "default": 1}), record()),
    "a field taken away": (record(), one("int")),
    "int to double": (one("double"), one("int")),
    "float to double": (one("double"), one("float")),
    "bytes to string": (one("string"), one("bytes")),
    "a field renamed with an alias": (
        record({"name": "b", "type": "int", "aliases": ["a"]}),
        one("int"),
    ),
    "a record renamed with an alias": ({**one("int"), "name": "s", "aliases": ["r"]}, one("int")),
    "another namespace": ({**one("int"), "namespace": "x"}, {**one("int"), "namespace": "y"}),
    "a symbol added": (one(enum("x", "y")), one(enum("x"))),
    "a symbol taken away, with a default": (one(enum("x", default="x")), one(enum("x", "y"))),
    "a type made nullable": (one(["null", "string"]), one("string")),
    "a union of the same branches in another order": (one(["string", "null"]), one(["null", "string"])),
    "a promotion into a branch": (one(["null", "double"]), one(["null", "int"])),
    "array items promoted": (one({"type": "array", "items": "long"}), one({"type": "array", "items": "int"})),
    "map values promoted": (one({"type": "map", "values": "float"}), one({"type": "map", "values": "long"})),
    "a logical type": (one({"type": "long", "logicalType": "timestamp-millis"}), one("long")),
    "a record that holds itself": (one(["null", "r"]), one(["null", "r"])),
}

BROKEN = {
    "a field added without a default": (
        one("int"),
        record(),
        "r.a: not written, and the reader has no default",
    ),
    "a narrowing": (one("int"), one("long"), "r.a: long cannot be read as int"),
    "another type": (one("string"), one("double"), "r.a: double cannot be read as string"),
    "another record": (record(name="s"), record(), "s: record r is not s nor an alias of it"),
    "a symbol taken away": (
        one(enum("x")),
        one(enum("x", "y", "z")),
        "r.a: the reader's enum has no default for y, z",
    ),
    "a branch taken away": (one("string"), one(["null", "string"]), "r.a: null cannot be read as string"),
    "a branch unknown": (
        one(["null", "long"]),
        one("string"),
        "r.a: the reader's union has no branch for string",
    ),
    "array items": (
        one({"type": "array", "items": "int"}),
        one({"type": "array", "items": "long"}),
        "r.a[]: long cannot be read as int",
    ),
    "map values": (
        one({"type": "map", "values": "int"}),
        one({"type": "map", "values": "string"}),
        "r.a{}: string cannot be read as int",
    ),
    "a fixed of another size": (
        one({"type": "fixed", "name": "f", "size": 4}),
        one({"type": "fixed", "name": "f", "size": 8}),
        "r.a: fixed of 8 bytes cannot be read as 4 bytes",
    ),
    "deep in a named type used twice": (
        record(
            {"name": "a", "type": record({"name": "x", "type": "int"}, name="s")}, {"name": "b", "type": "s"}
        ),
        record({"name": "a", "type": record(name="s")}, {"name": "b", "type": "s"}),
        "r.a.x: not written, and the reader has no default",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_kept(name: str) -> None:
    reader, writer = KEPT[name]
    assert compatible(reader, writer) == []


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    reader, writer, says = BROKEN[name]
    found = compatible(reader, writer)
    assert len(found) == 1
    assert found[0].startswith(says)


def test_a_bad_evolution_of_ours_is_reported() -> None:
    old = schemas.schema("sales_event")
    bad = {**old, "fields": [*old["fields"], {"name": "campaign", "type": "string"}]}
    amount = next(field for field in bad["fields"] if field["name"] == "amount")
    bad["fields"][bad["fields"].index(amount)] = {**amount, "type": "float"}
    assert compatible(bad, old) == [
        "sales_event.amount: double cannot be read as float",
        "sales_event.campaign: not written, and the reader has no default for it",
    ]
    assert compatible(old, bad) == []


@pytest.mark.parametrize(
    ("kind", "expected"), [("quote", "other"), ("subscription", "other"), ("return", "return")]
)
def test_version_1_reads_what_version_2_wrote(kind: str, expected: str) -> None:
    line = {"product": "p", "category": None, "quantity": 1.0, "amount": 2.0, "discount": 0.0}
    new = {"message_id": "m", "time": 5, "kind": kind, "order_id": "o", "amount": 2.0, "discount": 0.0}
    value = schemas.encode("sales_event", {**new, "lines": [line], "store": "s", "currency": "EUR"})
    body = io.BytesIO(value[schemas.FRAME_BYTES :])
    read = fastavro.schemaless_reader(
        body, schemas.schema("sales_event", 2), schemas.schema("sales_event", 1)
    )
    assert {**read, "time": 5} == {**new, "kind": expected, "lines": [line]}
