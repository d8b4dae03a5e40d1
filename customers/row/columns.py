"""Reads `config/features.yaml`, which declares what is known of a customer, as typed columns, fields and sources.

`KINDS` defines each column kind once: its words in the row, their defaults, its views and its options.
The fold itself is `customers.row.fold`, one branch a kind.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.located_yaml import LocatedMapping, duration_ms, load, parse_duration_ms
from schemas import EVENTS

# view opcodes: how `customers.row.fold.view` reads a view from the row
PLAIN, DECAY, HOURS_SINCE, HOURS_UNTIL, MEAN_OF, SPREAD_OF, BITS_OF, RING_MEAN, MINUTES, IF_ANY = range(10)


@dataclass(frozen=True, slots=True)
class KindSpec:
    """One kind of column. `defaults`: the words of a new row; `views`: (suffix, opcode, word it reads)."""

    defaults: tuple[float, ...]
    views: tuple[tuple[str, int, int], ...]
    options: frozenset[str] = frozenset()
    field: str = "none"  # none | optional | required


KINDS: dict[str, KindSpec] = {
    "decayed": KindSpec((0.0,), (("", DECAY, 0),), frozenset({"half_life"}), "optional"),
    "count": KindSpec((0.0,), (("", PLAIN, 0),)),
    "sum": KindSpec((0.0,), (("", PLAIN, 0),), field="required"),
    "maximum": KindSpec((np.nan,), (("", PLAIN, 0),), field="required"),
    "minimum": KindSpec((np.nan,), (("", PLAIN, 0),), field="required"),
    "latest": KindSpec((0.0,), (("", HOURS_SINCE, 0),)),
    "first": KindSpec((0.0,), (("", HOURS_SINCE, 0),)),
    "value": KindSpec((np.nan, 0.0), (("", PLAIN, 0),), field="required"),
    "gap": KindSpec(  # last time, n, mean, m2, latest gap
        (0.0, 0.0, 0.0, 0.0, 0.0), (("", MEAN_OF, 1), (".spread", SPREAD_OF, 1), (".last", IF_ANY, 4))
    ),
    "session": KindSpec(  # last time, sessions, events, start
        (0.0, 0.0, 0.0, 0.0),
        (("", PLAIN, 1), (".events", PLAIN, 2), (".minutes", MINUTES, 0)),
        frozenset({"gap"}),
    ),
    "distinct": KindSpec((0.0,), (("", BITS_OF, 0),), field="required"),
    "ring": KindSpec((0.0,), (("", RING_MEAN, 0),), frozenset({"size"}), "required"),
    "flag": KindSpec((0.0,), (("", PLAIN, 0),), frozenset({"clear_on"})),
    "deadline": KindSpec((0.0,), (("", HOURS_UNTIL, 0),), frozenset({"after", "clear_on"})),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `half_life_ms`, `gap_ms` and `after_ms` are 0 where the kind has none."""

    name: str
    kind: str
    on: tuple[str, ...]
    field: str | None = None
    half_life_ms: float = 0.0
    gap_ms: float = 0.0
    after_ms: float = 0.0
    size: int = 0
    clear_on: tuple[str, ...] = ()

    @property
    def defaults(self) -> tuple[float, ...]:
        """The words of the column in a new row."""
        return KINDS[self.kind].defaults + (0.0,) * self.size

    def identity(self) -> list[Any]:
        """Return what has to be equal for old and new words of this name to mean the same (for migrations)."""
        return [self.name, self.kind, self.half_life_ms, self.gap_ms, self.size, len(self.defaults)]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One number read from events: `paths` by topic, `reduce` over arrays, bounds; `place`: its place in the file."""

    name: str
    paths: dict[str, str]
    reduce: str = "last"
    low: float = -np.inf
    high: float = np.inf
    place: LocatedMapping = dataclasses.field(default_factory=LocatedMapping, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SourceTopic:
    """A topic and the name of the schema of its events."""

    topic: str
    schema: str


@dataclass(frozen=True, slots=True)
class Features:
    """The checked `config/features.yaml`. Event kinds are numbered in the order of the sources' enum symbols."""

    sources: tuple[SourceTopic, ...]
    fields: tuple[FieldSpec, ...]
    columns: tuple[Column, ...]
    kinds: tuple[str, ...]
    lateness_ms: float
    expire_after_ms: float
    idle_after_ms: float
    message_ids: int

    def kind_code(self, kind: str) -> int:
        """Return the number of an event kind."""
        return self.kinds.index(kind)

    def field_index(self, name: str) -> int:
        """Return the position of an event field in the field vector."""
        return [f.name for f in self.fields].index(name)


def load_features(path: str | Path, kinds_of: dict[str, tuple[str, ...]]) -> Features:
    """Read and check `features.yaml`. `kinds_of`: the event kinds of each schema name.

    Raises `ConfigError` (`path:line: what is wrong`).
    """
    top = load(path)
    allowed = {"lateness", "idle_after", "expire_after", "message_ids", "sources", "fields", "columns"}
    top.expect(allowed, {"sources", "columns"})
    sources, kinds = _sources(top, kinds_of)
    topics = {source.topic for source in sources}
    numbers = _mapping(top, "fields") if top.get("fields") else {}
    fields = tuple(_field(_mapping(top, "fields"), name, topics) for name in numbers)
    _check_paths(top, fields, {source.topic: source.schema for source in sources})
    columns: list[Column] = []
    names = {f.name for f in fields}
    declared = _mapping(top, "columns")
    for name in declared:
        columns += _columns(_mapping(declared, name), declared, name, set(kinds), names)
    seen: set[str] = set()
    for column in columns:
        if column.name in seen:
            raise declared.error(f"column {column.name!r} is declared twice; expected it once")
        seen.add(column.name)
    message_ids = top.get("message_ids", 8)
    if isinstance(message_ids, bool) or not isinstance(message_ids, int) or not 0 <= message_ids <= 1024:
        raise top.error(f"message_ids: expected a number from 0 to 1024, got {message_ids!r}", "message_ids")
    return Features(
        sources,
        fields,
        tuple(columns),
        kinds,
        duration_ms(top, "lateness") if "lateness" in top else 0.0,
        _expiry(top, columns),
        duration_ms(top, "idle_after") if "idle_after" in top else np.inf,
        message_ids,
    )


def _expiry(top: LocatedMapping, columns: list[Column]) -> float:
    """Return how long a silent customer is kept: longer than every deadline, which has to fire before."""
    if "expire_after" not in top:
        return np.inf
    kept_ms = duration_ms(top, "expire_after")
    for column in columns:
        if column.after_ms >= kept_ms:
            raise top.error(
                f"expire_after: expected more than `after` of column {column.name!r}", "expire_after"
            )
    return kept_ms


def _mapping(parent: LocatedMapping, key: str) -> LocatedMapping:
    value = parent[key]
    if not isinstance(value, LocatedMapping):
        raise parent.error(f"{key}: expected a mapping, got {value!r}", key)
    return value


def _sources(
    top: LocatedMapping, kinds_of: dict[str, tuple[str, ...]]
) -> tuple[tuple[SourceTopic, ...], tuple[str, ...]]:
    sources: list[SourceTopic] = []
    kinds: list[str] = []
    items = top["sources"]
    for item in items if isinstance(items, list) else [items]:
        if not isinstance(item, LocatedMapping) or items is item:
            raise top.error("sources: expected a list of {topic, schema}", "sources")
        item.expect({"topic", "schema"}, {"topic", "schema"})
        topic = item["topic"]
        if not isinstance(topic, str) or not topic:
            raise item.error(f"topic: expected a name, got {topic!r}", "topic")
        if topic in [source.topic for source in sources]:
            raise item.error(f"topic {topic!r} appears twice; expected it once", "topic")
        if item["schema"] not in list(kinds_of):
            raise item.error(
                f"unknown schema {item['schema']!r}; expected one of {sorted(kinds_of)}", "schema"
            )
        sources.append(SourceTopic(topic, item["schema"]))
        kinds += [kind for kind in kinds_of[item["schema"]] if kind not in kinds and kind != "other"]
    if not sources or len(sources) > 8:
        raise top.error("sources: expected between 1 and 8 topics", "sources")
    return tuple(sources), tuple(kinds)


def _field(fields: LocatedMapping, name: str, topics: set[str]) -> FieldSpec:
    spec = _mapping(fields, name)
    spec.expect(topics | {"reduce", "min", "max"})
    paths = {topic: spec[topic] for topic in spec if topic in topics}
    for topic, path in paths.items():
        if not isinstance(path, str) or not path:
            raise spec.error(f"{topic}: expected the path of a value such as amount, got {path!r}", topic)
    if not paths:
        raise fields.error(f"field {name!r} names no topic; expected one of {sorted(topics)}", name)
    reduce = spec.get("reduce", "last")
    if reduce not in ("last", "sum", "count", "bits"):
        raise spec.error(f"reduce: expected last, sum, count or bits, got {reduce!r}", "reduce")
    bounds = []
    for key, default in (("min", -np.inf), ("max", np.inf)):
        value = spec.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise spec.error(f"{key}: expected a number, got {value!r}", key)
        bounds.append(float(value))
    if bounds[0] > bounds[1]:
        raise spec.error(f"min: expected at most max, got {bounds[0]:g} and {bounds[1]:g}", "min")
    return FieldSpec(name, paths, reduce, bounds[0], bounds[1], spec)


def _check_paths(top: LocatedMapping, fields: tuple[FieldSpec, ...], schema_of: dict[str, str]) -> None:
    """Raise `ConfigError` if two readers take the same value of an event."""
    taken: dict[tuple[str, str], str] = {}
    for field in fields:
        for topic, path in field.paths.items():
            own = ("time", "kind", EVENTS[schema_of[topic]])
            other = "the engine itself" if path in own else taken.get((topic, path))
            if other is not None:
                wrong = (
                    f"field {field.name!r}: {path} of {topic} is read by {other} already; expected another"
                )
                raise top["fields"].error(wrong, field.name)
            taken[topic, path] = f"field {field.name!r}"


def _kind_list(spec: LocatedMapping, key: str, kinds: set[str]) -> tuple[str, ...]:
    value = spec.get(key, [])
    if not isinstance(value, list) or (key == "on" and not value):
        raise spec.error(f"{key}: expected a list of event kinds, got {value!r}", key)
    for kind in value:
        if kind not in list(kinds):
            raise spec.error(f"{key}: unknown event kind {kind!r}; expected one of {sorted(kinds)}", key)
    return tuple(value)


def _columns(
    spec: LocatedMapping, parent: LocatedMapping, name: str, kinds: set[str], fields: set[str]
) -> list[Column]:
    kind = spec.get("kind")
    if kind not in list(KINDS):
        raise spec.error(f"column {name!r}: kind: expected one of {sorted(KINDS)}, got {kind!r}", "kind")
    rule = KINDS[kind]
    allowed = {"kind", "on"} | rule.options | (set() if rule.field == "none" else {"field"})
    required = (
        {"kind", "on"} | (rule.options - {"clear_on"}) | ({"field"} if rule.field == "required" else set())
    )
    spec.expect(set(allowed), set(required))
    if "." in name or not name.isidentifier():
        raise parent.error(f"column {name!r}: expected a name of letters, digits and underscores", name)
    field = spec.get("field")
    if "field" in spec and field not in list(fields):
        raise spec.error(
            f"column {name!r}: unknown field {field!r}; expected one of {sorted(fields)}", "field"
        )
    size = spec.get("size", 0)
    if "size" in spec and (isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 256):
        raise spec.error(f"size: expected a number from 1 to 256, got {size!r}", "size")
    common = {
        "kind": kind,
        "on": _kind_list(spec, "on", kinds),
        "field": field,
        "size": size,
        "gap_ms": duration_ms(spec, "gap") if "gap" in spec else 0.0,
        "after_ms": duration_ms(spec, "after") if "after" in spec else 0.0,
        "clear_on": _kind_list(spec, "clear_on", kinds),
    }
    lives = spec.get("half_life")
    if isinstance(lives, list) and lives:
        return [
            Column(f"{name}_{text}", half_life_ms=parse_duration_ms(text, spec, "half_life"), **common)
            for text in lives
        ]
    return [
        Column(
            name,
            half_life_ms=parse_duration_ms(lives, spec, "half_life") if "half_life" in spec else 0.0,
            **common,
        )
    ]
