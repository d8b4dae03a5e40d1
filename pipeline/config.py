"""The configuration of a worker: columns, models and policies, read and checked together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import schemas
from config.located_yaml import LocatedMapping, duration_ms, load
from customers.row import Features, Layout, load_features
from decisions.conditions import Condition, Names, compile_condition, suggestion
from decisions.policies import policy as policy_files
from models import config as model_config
from streams.kernels import hash_text


@dataclass(frozen=True, slots=True)
class Config:
    """The three files that say what is known, learned and done."""

    features: Features
    models: model_config.ModelConfig
    policies: tuple[policy_files.Policy, ...]
    layout: Layout
    names: Names
    opens: Mapping[str, Condition]  # by model: what must be true for it to open


def event_kinds() -> dict[str, tuple[str, ...]]:
    """The enum symbols of every event schema: what `on` may name."""
    return {
        name: next(tuple(m["type"]["symbols"]) for m in schemas.schema(name)["fields"] if m["name"] == "kind")
        for name in sorted(schemas.EVENTS)
    }


def load_config(folder: str | Path) -> Config:
    """Read and check `features.yaml`, `models.yaml` and `policies.yaml`. Raises `ConfigError`."""
    folder = Path(folder)
    features = load_features(folder / "features.yaml", event_kinds())
    models = model_config.load_models(folder / "models.yaml")
    seen = {model.name: models.names for model in models.models}
    bare = Layout(features, seen, [])
    names = Names(
        views=list(bare.view_index),
        scores=[model.name for model in models.models],
        fields=[field.name for field in features.fields],
        kinds=features.kinds,
        deadlines=bare.deadline_columns,
        strings=frozenset(_string_fields(features)),
    )
    opens = _check_models(folder / "models.yaml", names, features)
    policies = policy_files.load(folder / "policies.yaml", names, hash_text)
    kept = {model.name: model.kept for model in models.models}
    layout = Layout(features, seen, [policy.name for policy in policies], kept)
    return Config(features, models, policies, layout, names, opens)


def _check_models(path: Path, names: Names, features: Features) -> dict[str, Condition]:
    """The views, fields and event kinds that the models name must be known, and no row may go before its example.

    Returns what must be true for a model to open, of those that say so. It cannot ask for scores: what is learned
    would then depend on what was learned before.
    """
    top, views = load(path), names.views
    opens = {}
    for item in top["features"]:
        if "view" in item and item["view"] not in views:
            raise item.error(
                f"unknown view {item['view']!r}; {suggestion(item['view'], views, 'a view')}", "view"
            )
    for name, spec in top["models"].items():
        for key in ("open", "proof"):
            for kind in spec[key]:
                if kind not in features.kinds:
                    expected = ", ".join(features.kinds)
                    raise spec.error(f"{key}: unknown event kind {kind!r}; expected one of {expected}", key)
        if duration_ms(spec, "within") >= features.expire_after_ms:
            raise spec.error("within: expected less than expire_after of features.yaml", "within")
        for key in ("amount", "same"):
            if key in spec:
                _check_field(spec, key, names, features)
                _check_read(spec, key, features)
        if "if" in spec:
            opens[name] = _opening(spec, names)
    return opens


def _opening(spec: LocatedMapping, names: Names) -> Condition:
    condition = compile_condition(
        spec["if"], names, lambda message: spec.error(f"if: {message}", "if"), hash_text
    )
    for read in condition.inputs:
        if read.type == "score":
            raise spec.error(f"if: {read} is a score; expected columns and fields of the event only", "if")
    return condition


def _check_read(spec: LocatedMapping, key: str, features: Features) -> None:
    """The field is read from the events that need it, or the model would never have an example."""
    found = features.fields[features.field_index(spec[key])]
    kinds_of = event_kinds()
    for kind in [*spec["proof"], *(spec["open"] if key == "same" else [])]:
        topics = [source.topic for source in features.sources if kind in kinds_of[source.schema]]
        if not any(topic in found.paths for topic in topics):
            raise spec.error(
                f"{key}: {found.name} is not read from {kind} events; see fields of features.yaml", key
            )


def _check_field(spec: LocatedMapping, key: str, names: Names, features: Features) -> None:
    """An amount is summed up, what is the same is compared: neither works with bits, and a string is no amount."""
    field = spec[key]
    if field not in names.fields:
        raise spec.error(f"{key}: unknown field {field!r}; {suggestion(field, names.fields, 'a field')}", key)
    if features.fields[features.field_index(field)].reduce == "bits":
        raise spec.error(f"{key}: expected a field that is one value, {field} is a set", key)
    if key == "amount" and f"event.{field}" in names.strings:
        raise spec.error(f"{key}: expected a number, {field} is a string", key)


def _string_fields(features: Features) -> list[str]:
    """Fields (and the columns that keep their value) whose number is the hash of a string."""
    found = []
    for field in features.fields:
        for source in features.sources:
            path = field.paths.get(source.topic)
            if path is None or field.reduce != "last":
                continue
            for member in schemas.schema(source.schema)["fields"]:
                kinds = member["type"] if isinstance(member["type"], list) else [member["type"]]
                if member["name"] == path and "string" in kinds:
                    found.append(field.name)
    columns = [column.name for column in features.columns if column.kind == "value" and column.field in found]
    return [f"event.{name}" for name in found] + columns
