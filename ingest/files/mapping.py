"""Reads mapping.yaml, which says how the rows of a file become events.

topic: web.events                # or `schema: web_event`; with both, the topic may have any name
format: csv                      # csv, json (one object a line) or parquet; by default from the file's name
header: [user, item, ...]        # csv without a header line: its columns
separator: ";"                   # csv; by default a comma, for .tsv a tab
encoding: utf-8                  # csv and json
customer: user                   # column with the key of the record
time: {column: at, unit: s}      # s, ms, us, ns since the epoch; or `format: "%d.%m.%Y %H:%M"`; or neither:
                                 # ISO 8601. `zone: Europe/Paris` for times without an offset (by default UTC)
kind: order                      # a kind of the schema, or {column: type, values: {pv: view, buy: checkout}}
message_id: id                   # column; by default the file's name and the row number
fields:                          # field of the schema: column of the file
  amount: total
  currency: {constant: EUR}      # the same value for all rows
  lines[].product: item          # each row gives one element of an array of records
  properties.colour: colour      # an entry of a map

A social event with a text gets the sentiment, topics and flags that the phrases find in it: for social.events in this
room, for social.messages in the reader role.
"""

from __future__ import annotations

import codecs
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import schemas
from config.located_yaml import LocatedMapping, load

FORMATS = ("csv", "json", "parquet")
UNITS = ("s", "ms", "us", "ns")
EVENT_TOPICS = {topic: schema for topic, schema in schemas.TOPICS.items() if schema in schemas.EVENTS}
GIVEN = ("message_id", "id", "customer", "time", "kind")  # fields that have keys of their own in the mapping

_KEYS = {"topic", "schema", "format", "header", "separator", "encoding"}
_KEYS |= {"customer", "time", "kind", "message_id", "fields"}


@dataclass(frozen=True)
class Time:
    """The column of the time and how to read it: by `unit`, by `format`, or with neither as ISO 8601."""

    column: str
    unit: str | None
    format: str | None
    zone: str
    line: int


@dataclass(frozen=True)
class Field:
    """One field, filled from `column`, or with `constant` if that is None.

    `path` is (field,), (map, key) or (array, "[]", field of its element); `type` is string or double.
    """

    path: tuple[str, ...]
    type: str
    required: bool  # the schema has no default for it
    column: str | None
    constant: str | float | None

    @property
    def name(self) -> str:
        return ".".join(self.path).replace(".[]", "[]")


@dataclass(frozen=True)
class Mapping:
    """A mapping, checked against its schema. `columns`: every column that it reads, with the line that names it."""

    path: str
    topic: str
    schema: str
    format: str | None
    header: tuple[str, ...] | None
    separator: str | None
    encoding: str
    customer: str
    time: Time
    kind_column: str | None
    kinds: dict[str, str]  # value of the kind column -> kind; {"": kind} without such a column
    message_id: str | None
    fields: tuple[Field, ...]
    columns: dict[str, int]
    fingerprint: str


def read_mapping(path: str | Path) -> Mapping:
    """Read and check a mapping. A ConfigError names the line to correct.

    >>> mapping = read_mapping(CONFIG / "mappings" / "taobao.yaml")
    >>> mapping.topic, mapping.customer, mapping.kinds["cart"]
    ('web.events', 'user', 'cart_add')
    """
    top = load(path)
    top.expect(_KEYS, {"customer", "time", "kind"})
    topic, name = _target(top)
    parsed = schemas.schema(name)
    columns: dict[str, int] = {}
    kind_column, kinds = _kinds(top, parsed, columns)
    return Mapping(
        path=str(path),
        topic=topic,
        schema=name,
        format=_one_of(top, "format", FORMATS),
        header=_header(top),
        separator=_separator(top),
        encoding=_encoding(top),
        customer=_column(top, "customer", columns),
        time=_time(top, columns),
        kind_column=kind_column,
        kinds=kinds,
        message_id=_column(top, "message_id", columns) if "message_id" in top else None,
        fields=_fields(top, parsed, columns),
        columns=columns,
        fingerprint=hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16],
    )


def _target(top: LocatedMapping) -> tuple[str, str]:
    known = sorted(set(EVENT_TOPICS.values()))
    if "schema" in top:
        name = _one_of(top, "schema", known)
        assert name is not None
        topic = top.get("topic", next(t for t, s in EVENT_TOPICS.items() if s == name))
        if not isinstance(topic, str) or not topic:
            raise top.error(f"topic: expected a name, got {topic!r}", "topic")
        return topic, name
    topic = str(top.get("topic"))
    if topic not in EVENT_TOPICS:
        raise top.error(
            f"topic: expected one of {sorted(EVENT_TOPICS)}, or any with a schema of {known}", "topic"
        )
    return topic, EVENT_TOPICS[topic]


def _one_of(part: LocatedMapping, key: str, allowed: tuple[str, ...] | list[str]) -> str | None:
    value = part.get(key)
    if key in part and value not in allowed:
        raise part.error(f"{key}: expected one of {list(allowed)}, got {value!r}", key)
    return value


def _column(part: LocatedMapping, key: str, columns: dict[str, int]) -> str:
    value = part[key]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise part.error(f"{key}: expected the name of a column, got {value!r}", key)
    columns.setdefault(str(value), part.lines[key])
    return str(value)


def _header(top: LocatedMapping) -> tuple[str, ...] | None:
    value = top.get("header")
    plain = isinstance(value, list) and all(isinstance(name, str | int) for name in value)
    if value is not None and not (value and plain):
        raise top.error(f"header: expected a list of column names, got {value!r}", "header")
    return None if value is None else tuple(str(column) for column in value)


def _separator(top: LocatedMapping) -> str | None:
    value = top.get("separator")
    if value is not None and (not isinstance(value, str) or len(value) != 1 or value in '"\r\n'):
        raise top.error(f"separator: expected one character, got {value!r}", "separator")
    return value


def _encoding(top: LocatedMapping) -> str:
    value = str(top.get("encoding", "utf-8"))
    try:
        found = codecs.lookup(value).name
    except LookupError as error:
        raise top.error(f"encoding: expected one that Python knows, got {value!r}", "encoding") from error
    return "utf-8-sig" if found == "utf-8" else found  # a byte order mark may precede the first line


def _time(top: LocatedMapping, columns: dict[str, int]) -> Time:
    value = top["time"]
    if not isinstance(value, LocatedMapping):
        return Time(_column(top, "time", columns), None, None, "UTC", top.lines["time"])
    value.expect({"column", "unit", "format", "zone"}, {"column"})
    if "unit" in value and "format" in value:
        raise value.error("time: expected a unit or a format, got both", "format")
    zone = str(value.get("zone", "UTC"))
    try:
        ZoneInfo(zone)
    except (LookupError, ValueError, OSError) as error:
        raise value.error(f"zone: expected a name such as Europe/Paris, got {zone!r}", "zone") from error
    form = value.get("format")
    if "format" in value and (not isinstance(form, str) or not form):
        raise value.error(f'format: expected one such as "%d.%m.%Y %H:%M", got {form!r}', "format")
    return Time(_column(value, "column", columns), _one_of(value, "unit", UNITS), form, zone, value.line)


def _kinds(
    top: LocatedMapping, parsed: dict[str, Any], columns: dict[str, int]
) -> tuple[str | None, dict[str, str]]:
    symbols = next(field["type"]["symbols"] for field in parsed["fields"] if field["name"] == "kind")
    value = top["kind"]
    if not isinstance(value, LocatedMapping):
        return None, {"": str(_one_of(top, "kind", symbols))}
    value.expect({"column", "values"}, {"column"})
    column = _column(value, "column", columns)
    if "values" not in value:
        return column, {symbol: symbol for symbol in symbols}
    values = value["values"]
    if not isinstance(values, LocatedMapping) or not values:
        raise value.error("values: expected a mapping of values in the column to kinds", "values")
    return column, {key: str(_one_of(values, key, symbols)) for key in values}


def _fields(top: LocatedMapping, parsed: dict[str, Any], columns: dict[str, int]) -> tuple[Field, ...]:
    part = top.get("fields", LocatedMapping())
    if not isinstance(part, LocatedMapping):
        raise top.error("fields: expected a mapping of fields to columns", "fields")
    schema_fields = {f["name"]: f for f in parsed["fields"] if f["name"] not in GIVEN and _filled(f)}
    found = tuple(_field(part, key, schema_fields, columns) for key in part)
    filled = {field.path for field in found}
    arrays = {path[0] for path in filled if len(path) == 3}
    needed: set[tuple[str, ...]] = {
        (name,) for name, field in schema_fields.items() if "default" not in field and not _element(field)
    }
    for array in arrays:
        needed |= {(array, "[]", f["name"]) for f in _element(schema_fields[array]) if "default" not in f}
    missing = sorted(".".join(path).replace(".[]", "[]") for path in needed - filled)
    if missing:
        raise top.error(
            f"fields: expected also {', '.join(missing)}: {parsed['name'].rpartition('.')[2]} needs them",
            "fields",
        )
    return found


def _field(part: LocatedMapping, key: str, schema_fields: dict[str, Any], columns: dict[str, int]) -> Field:
    path, field = _resolve(key, schema_fields)
    if field is None:
        raise part.error(f"fields: unknown field {key!r}; expected one of {_names(schema_fields)}", key)
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    kind = "double" if "double" in types else "string"
    value = part[key]
    required = "default" not in field
    if not isinstance(value, LocatedMapping):
        return Field(path, kind, required, _column(part, key, columns), None)
    value.expect({"column", "constant"})
    if ("column" in value) == ("constant" in value):
        raise value.error(f"{key}: expected either a column or a constant")
    if "column" in value:
        return Field(path, kind, required, _column(value, "column", columns), None)
    constant = value["constant"]
    number = isinstance(constant, int | float) and not isinstance(constant, bool) and math.isfinite(constant)
    if not number and (kind == "double" or not isinstance(constant, str)):
        wanted = "a number" if kind == "double" else "a text"
        raise value.error(f"{key}: expected {wanted}, got {constant!r}", "constant")
    return Field(path, kind, required, None, float(constant) if kind == "double" else str(constant))


def _resolve(key: str, schema_fields: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """Return the path that `key` means and the schema of its field, or None if there is no such field."""
    name, dot, inner = key.partition(".")
    if name.endswith("[]"):
        elements = _element(schema_fields.get(name[:-2], {}))
        return (name[:-2], "[]", inner), next((f for f in elements if f["name"] == inner), None)
    field = schema_fields.get(name)
    kind = field["type"] if field else None
    if isinstance(kind, dict):
        entry = {"type": kind["values"], "default": None} if kind["type"] == "map" and inner else None
        return (name, inner), entry
    return (name,), None if dot else field


def _element(field: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of an array's element; none for any other field."""
    kind = field.get("type")
    items = kind["items"] if isinstance(kind, dict) and kind["type"] == "array" else None
    return items["fields"] if isinstance(items, dict) else []


def _filled(field: dict[str, Any]) -> bool:
    """Return whether a column can fill the field: flags and lists of words come from the text."""
    kind = field["type"]
    return kind != "boolean" and not (
        isinstance(kind, dict) and kind["type"] == "array" and not _element(field)
    )


def _names(schema_fields: dict[str, Any]) -> str:
    names = []
    for name, field in schema_fields.items():
        kind = field["type"]
        names += [f"{name}[].{element['name']}" for element in _element(field)]
        if not _element(field):
            names.append(f"{name}.<key>" if isinstance(kind, dict) else name)
    return ", ".join(names)
