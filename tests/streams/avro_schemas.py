"""Random Avro schemas, what a later reader may make of them, values, and what each path of a value reduces to."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from random import Random
from typing import Any

from streams.avro.compiler import BITS, COUNT, SET, SUM
from tests.reference.hashing import bit_of, hash64

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NUMBERS = ("boolean", "int", "long", "float", "double")
LOGICAL: tuple[dict[str, Any], ...] = (
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "int", "logicalType": "date"},
    {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3},
)
PROMOTED = {"int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",)}
TEXTS = {"string": "bytes", "bytes": "string"}
SYMBOLS = ("red", "green", "blue", "black")
WORDS = ("", "a", "shoes", "Käse", "eight888", "nine99999", "\N{GRINNING FACE}" * 3)
HEAD = [
    {"name": "message_id", "type": "string"},
    {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["page", "order", "other"]}},
]


class Maker:
    """Schemas and values by the dice of `draw`."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw
        self.names = 0
        self.known: list[str] = []

    def record(self) -> dict[str, Any]:
        """A whole writer's schema: the head of every event, then fields of any type."""
        fields = [{"name": f"f{n}", "type": self.type(3)} for n in range(self.draw.randint(1, 6))]
        return {"type": "record", "name": "event", "fields": [*deepcopy(HEAD), *fields]}

    def name(self) -> str:
        self.names += 1
        return f"N{self.names}"

    def type(self, depth: int) -> Any:
        kinds = ["plain"] * 4 + ["text"] * 2 + ["logical", "enum", "fixed", "again"]
        kinds += ["array", "array", "map", "record", "union", "union"] if depth else []
        match self.draw.choice(kinds):
            case "plain":
                return self.draw.choice(NUMBERS)
            case "text":
                return self.draw.choice(("string", "string", "bytes"))
            case "logical":
                return dict(self.draw.choice(LOGICAL))
            case "enum":
                return self.enum()
            case "fixed":
                return {"type": "fixed", "name": self.name(), "size": self.draw.choice((0, 1, 8, 11))}
            case "again" if self.known:
                return self.draw.choice(self.known)
            case "array":
                return {"type": "array", "items": self.type(depth - 1)}
            case "map":
                return {"type": "map", "values": self.type(depth - 1)}
            case "record":
                return self.nested(depth)
            case "union":
                return self.union(depth)
        return "null"

    def enum(self) -> Any:
        size = self.draw.randint(1, len(SYMBOLS))
        return {"type": "enum", "name": self.name(), "symbols": list(SYMBOLS[:size])}

    def nested(self, depth: int) -> Any:
        name = self.name()
        count = self.draw.randint(0, 3)
        fields = [{"name": f"g{n}", "type": self.type(depth - 1)} for n in range(count)]
        self.known.append(name)
        return {"type": "record", "name": name, "fields": fields}

    def union(self, depth: int) -> Any:
        """Null, and at most one branch of each sort that values tell apart."""
        sorts: list[Callable[[], Any]] = [
            lambda: self.draw.choice(("int", "long", "double")),
            lambda: self.draw.choice(("string", self.enum())),
            lambda: {"type": "array", "items": self.type(depth - 1)},
            lambda: self.nested(depth),
            lambda: "boolean",
        ]
        branches = [make() for make in self.draw.sample(sorts, self.draw.randint(1, 2))]
        branches.insert(self.draw.randint(0, len(branches)), "null")
        return branches

    # -- what a later schema makes of it

    def later(self, schema: Any) -> Any:
        """A reader's schema: fields gone, new ones with defaults, aliases, wider numbers, other symbols."""
        if isinstance(schema, str):
            if schema in PROMOTED and self.draw.random() < 0.3:
                return self.draw.choice(PROMOTED[schema])
            return TEXTS[schema] if schema in TEXTS and self.draw.random() < 0.2 else schema
        if isinstance(schema, list):
            return [self.later(b) if isinstance(b, dict) and "logicalType" not in b else b for b in schema]
        schema = dict(schema)
        if schema["type"] == "record":
            schema["fields"] = self.later_fields(schema["fields"])
        elif schema["type"] == "enum" and schema["name"] != "Kind" and self.draw.random() < 0.5:
            schema["symbols"] = ["new", *schema["symbols"][: self.draw.randint(0, 3)]]
            schema["default"] = "new"
        elif schema["type"] == "array":
            schema["items"] = self.later(schema["items"])
        elif schema["type"] == "map":
            schema["values"] = self.later(schema["values"])
        return schema

    def later_fields(self, fields: list[Any]) -> list[Any]:
        kept = []
        for field in fields:
            if field["name"] in ("message_id", "time", "kind"):
                kept.append(field)
                continue
            if self.draw.random() < 0.15:
                continue
            field = {**field, "type": self.later(field["type"])}
            if self.draw.random() < 0.15:
                field = {**field, "name": f"{field['name']}_now", "aliases": [field["name"]]}
            kept.append(field)
        for name, type_, default in (
            ("new_number", "double", 2.5),
            ("new_text", "string", "shoes"),
            ("new_union", ["null", "long"], None),
            ("new_list", {"type": "array", "items": "double"}, self.draw.choice(([], [1.5, 2.0]))),
        ):
            if self.draw.random() < 0.2:
                kept.append({"name": name, "type": type_, "default": default})
        return kept

    # -- values

    def value(self, schema: Any, named: dict[str, Any]) -> Any:
        draw = self.draw
        if isinstance(schema, list):
            return self.value(draw.choice(schema), named)
        if isinstance(schema, str):
            schema = named.get(schema, {"type": schema})
        if "logicalType" in schema:
            return self.logical(schema["logicalType"])
        match schema["type"]:
            case "record":
                return {field["name"]: self.field(field, named) for field in schema["fields"]}
            case "enum":
                return draw.choice(schema["symbols"])
            case "fixed":
                return draw.randbytes(schema["size"])
            case "array":
                return [self.value(schema["items"], named) for _ in range(draw.choice((0, 1, 2, 5)))]
            case "map":
                return {
                    draw.choice(WORDS) + str(n): self.value(schema["values"], named)
                    for n in range(draw.choice((0, 1, 3)))
                }
            case "boolean":
                return draw.random() < 0.5
            case "int":
                return draw.choice((0, -1, 63, 64, -65, 2**31 - 1, -(2**31), draw.randint(-999, 999)))
            case "long":
                return draw.choice((0, -1, 2**63 - 1, -(2**63), 2**53 + 1, draw.randint(-(10**12), 10**12)))
            case "float":
                return draw.choice((0.0, -0.5, 1.25, 65504.0, math.inf))
            case "double":
                odd = draw.choice((math.inf, -math.inf, math.nan, 1e308, 5e-324))
                return draw.choice((0.0, -0.0, 0.1, -1e9, draw.uniform(-1e3, 1e3), odd))
            case "string":
                return draw.choice(WORDS)
            case "bytes":
                return draw.choice((b"", b"shoes", b"\xff\x00", draw.randbytes(9)))
        return None

    def field(self, field: Any, named: dict[str, Any]) -> Any:
        match field["name"]:
            case "time":
                return EPOCH + dt.timedelta(milliseconds=1_600_000_000_000 + self.draw.randrange(10**9))
            case _:
                return self.value(field["type"], named)

    def logical(self, kind: str) -> Any:
        micros = self.draw.randrange(10**15, 3 * 10**15)
        match kind:
            case "timestamp-millis":
                return EPOCH + dt.timedelta(milliseconds=micros // 1000)
            case "timestamp-micros":
                return EPOCH + dt.timedelta(microseconds=micros)
            case "local-timestamp-micros":
                return (EPOCH + dt.timedelta(microseconds=micros)).replace(tzinfo=None)
            case "date":
                return dt.date(2020, 1, 1) + dt.timedelta(days=self.draw.randrange(-9999, 9999))
        return Decimal(self.draw.randrange(-(10**9), 10**9)).scaleb(-3)


# -- which paths there are, and what they reduce to


def paths(schema: Any, path: str, named: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each path that can be captured, and the sort of what stands there: number, text, symbol or whole."""
    if isinstance(schema, list):
        found: dict[str, set[str]] = {}
        for branch in schema:
            for there, sort in paths(branch, path, named):
                found.setdefault(there, set()).add(sort)
        yield from ((there, sorts.pop() if len(sorts) == 1 else "mixed") for there, sorts in found.items())
        return
    if isinstance(schema, str):
        schema = named.get(schema, {"type": schema})
    match schema["type"]:
        case "record":
            if path.endswith(("]", "}")):
                yield path, "whole"
            for field in schema["fields"]:
                if path or field["name"] not in ("message_id", "time", "kind"):
                    yield from paths(field["type"], f"{path}.{field['name']}".lstrip("."), named)
        case "array" | "map":
            if path.endswith(("]", "}")):
                yield path, "whole"
            kind = schema["type"]
            child = f"{path}[]" if kind == "array" else f"{path}{{}}"
            yield from paths(schema["items" if kind == "array" else "values"], child, named)
        case "null":
            pass
        case "enum" | "fixed":
            yield path, "symbol"
        case "string":
            yield path, "text"
        case "bytes":
            yield path, "number" if "logicalType" in schema else "text"
        case _:
            yield path, "number"


MODES = {"number": (SET, SUM, COUNT), "text": (SET, COUNT, BITS), "symbol": (SET, COUNT), "whole": (COUNT,)}


def leaves(value: Any, schema: Any, path: str, named: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that is not null, in order; (path of its items, ()) of each array and map."""
    if value is None:
        return
    if isinstance(schema, list):
        fitting = [b for b in schema if b != "null"]
        schema = next(b for b in fitting if len(fitting) == 1 or _fits(value, b, named))
    if isinstance(schema, str):
        schema = named.get(schema, {"type": schema})
    yield path, value
    if schema["type"] == "record":
        for field in schema["fields"]:
            there = f"{path}.{field['name']}".lstrip(".")
            yield from leaves(value[field["name"]], field["type"], there, named)
    elif schema["type"] in ("array", "map"):
        array = schema["type"] == "array"
        child = f"{path}[]" if array else f"{path}{{}}"
        yield child, ()
        for item in value if array else value.values():
            yield from leaves(item, schema["items" if array else "values"], child, named)


def _fits(value: Any, schema: Any, named: dict[str, Any]) -> bool:
    if isinstance(schema, str):
        schema = named.get(schema, {"type": schema})
    sort = {
        "record": dict, "map": dict, "array": list, "boolean": bool, "string": str, "enum": str, "bytes": bytes,
        "int": int, "long": int, "float": float, "double": float,
    }[schema["type"]]  # fmt: skip
    return type(value) is sort


def number(value: Any) -> float:
    """What a value is as a number."""
    if isinstance(value, str | bytes):
        return float(hash64(value.encode() if isinstance(value, str) else value) & (2**52 - 1))
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return ((aware - EPOCH) // dt.timedelta(microseconds=1)) / 1000
    if isinstance(value, dt.date):
        return (value - EPOCH.date()).days * 86_400_000.0
    return float(value)


def expected(found: list[tuple[str, Any]], path: str, mode: int) -> float | int | None:
    """What `path` reduces to by `mode` (bits: an int); None when the record is a dead letter for a NaN."""
    inside = path.endswith(("]", "}")) or "]" in path or "}" in path
    values = [value for there, value in found if there == path and value != ()]
    opened = inside and any(value == () and path.startswith(there) for there, value in found)
    if mode == COUNT:
        return float(len(values)) if values or opened else math.nan
    numbers = [number(value) for value in values if not isinstance(value, list | dict)]
    if any(map(math.isnan, numbers)):
        return None
    if mode == BITS:
        bits = 0
        for one in numbers:
            bits |= bit_of(one)
        return bits if opened else math.nan
    if mode == SET:
        return numbers[-1] if numbers else math.nan
    total = 0.0 if opened else math.nan
    for one in numbers:
        total = one if math.isnan(total) else total + one
        if math.isnan(total):
            return None
    return total
