"""The three YAML files as plain lists: sources, fields, columns, features, models, policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def read(source: Path | str | Mapping[str, Any]) -> Mapping[str, Any]:
    """A file, or the YAML text itself. Scalars stay text (YAML would make `on` True and 1e9 text)."""
    if isinstance(source, Mapping):
        return source
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    found = yaml.load(text, Loader=yaml.BaseLoader)
    assert isinstance(found, dict)
    return found


def milliseconds(text: str) -> int:
    """`90s`, `30m`, `1h`, `3d` or `1w`."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    return round(float(number) * UNITS_MS[text[len(number) :]])


@dataclass(frozen=True)
class Field:
    """A number read from an event, or from the events of several topics."""

    name: str
    paths: Mapping[str, str]
    reduce: str | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class Column:
    """Part of what is known of a customer; `columns.py` says what each kind does."""

    name: str
    kind: str
    on: frozenset[str]
    clear_on: frozenset[str] = frozenset()
    field: str | None = None
    half_life_ms: int = 0
    gap_ms: int = 0
    after_ms: int = 0
    size: int = 0


@dataclass(frozen=True)
class Feature:
    view: str | None
    transform: str
    missing: float
    bucket: int = 0


@dataclass(frozen=True)
class Model:
    name: str
    open: frozenset[str]
    proof: frozenset[str]
    within_ms: int
    proof_label: int
    amount: str | None = None
    same: str | None = None
    condition: str | None = None


@dataclass(frozen=True)
class Policy:
    name: str
    kind: str
    on: frozenset[str]
    when: str
    exit: str | None
    cooldown_ms: int


@dataclass(frozen=True)
class Declared:
    """Everything declared, in the order of the files."""

    lateness_ms: int
    expire_after_ms: float
    message_ids: int
    sources: Mapping[str, str]
    fields: list[Field]
    columns: list[Column]
    features: list[Feature]
    models: list[Model]
    policies: list[Policy]
    topics: list[str] = field(default_factory=list)


def declare(features: Any, models: Any, policies: Any) -> Declared:
    """Read the three declarations; each is a path, YAML text or a mapping."""
    known, learnt, decided = read(features), read(models), read(policies)
    sources = {source["topic"]: source["schema"] for source in known["sources"]}
    return Declared(
        lateness_ms=milliseconds(known["lateness"]),
        expire_after_ms=milliseconds(known["expire_after"]) if "expire_after" in known else float("inf"),
        message_ids=int(known["message_ids"]),
        sources=sources,
        fields=[_field(name, about, sources) for name, about in (known.get("fields") or {}).items()],
        columns=[column for name, about in known["columns"].items() for column in _columns(name, about)],
        features=[feature for about in learnt.get("features") or [] for feature in _features(about)],
        models=[_model(name, about) for name, about in (learnt.get("models") or {}).items()],
        policies=[_policy(name, about) for name, about in (decided.get("policies") or {}).items()],
        topics=list(sources),
    )


def _field(name: str, about: Mapping[str, str], sources: Mapping[str, str]) -> Field:
    return Field(
        name,
        {topic: path for topic, path in about.items() if topic in sources},
        about.get("reduce"),
        float(about["min"]) if "min" in about else None,
        float(about["max"]) if "max" in about else None,
    )


def _columns(name: str, about: Mapping[str, Any]) -> list[Column]:
    """One column, or one for each element of a list of half-lives (also of a list of one)."""

    def column(full_name: str, half_life: str | None) -> Column:
        return Column(
            name=full_name,
            kind=about["kind"],
            on=frozenset(about["on"]),
            clear_on=frozenset(about.get("clear_on", ())),
            field=about.get("field"),
            half_life_ms=milliseconds(half_life) if half_life else 0,
            gap_ms=milliseconds(about["gap"]) if "gap" in about else 0,
            after_ms=milliseconds(about["after"]) if "after" in about else 0,
            size=int(about.get("size", 0)),
        )

    half_life = about.get("half_life")
    if isinstance(half_life, list):
        return [column(f"{name}_{text}", text) for text in half_life]
    return [column(name, half_life)]


def _features(about: Mapping[str, str]) -> list[Feature]:
    """One, or eight for a view that is hashed."""
    transform = about.get("transform", "log1p")
    buckets = range(8 if transform == "hashed" else 1)
    return [
        Feature(about.get("view"), transform, float(about.get("missing", 0)), bucket) for bucket in buckets
    ]


def _model(name: str, about: Mapping[str, Any]) -> Model:
    return Model(
        name,
        frozenset(about["open"]),
        frozenset(about["proof"]),
        milliseconds(about["within"]),
        0 if about.get("positive") == "deadline" else 1,
        about.get("amount"),
        about.get("same"),
        about.get("if"),
    )


def _policy(name: str, about: Mapping[str, Any]) -> Policy:
    cooldown = milliseconds(about["cooldown"]) if "cooldown" in about else 0
    return Policy(name, about["kind"], frozenset(about["on"]), about["when"], about.get("exit"), cooldown)
