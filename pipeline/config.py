"""Reads and checks the configuration of a worker: columns, models and policies together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import schemas
from customers.row import Features, Layout, load_features
from decisions.conditions import Condition, Names, compile_condition, suggestion
from decisions.policies import Policy, load_policies
from models import config as model_config
from models.config import ModelSpec
from streams.errors import ConfigError
from streams.kernels import hash_text

from .decode_programs import decode_programs


@dataclass(frozen=True, slots=True)
class Config:
    """The contents of `features.yaml`, `models.yaml` and `policies.yaml`, and what follows from them."""

    features: Features
    models: model_config.ModelConfig
    policies: tuple[Policy, ...]
    layout: Layout
    names: Names
    opens: Mapping[str, Condition]  # by model: the condition for an example to open


def event_kinds() -> dict[str, tuple[str, ...]]:
    """Return the event kinds (enum symbols) of every event schema, which `on` may name."""
    return {
        name: next(tuple(m["type"]["symbols"]) for m in schemas.schema(name)["fields"] if m["name"] == "kind")
        for name in sorted(schemas.EVENTS)
    }


def load_config(folder: str | Path) -> Config:
    """Read and check `features.yaml`, `models.yaml` and `policies.yaml`. Raises `ConfigError`."""
    folder = Path(folder)
    features = load_features(folder / "features.yaml", event_kinds())
    decode_programs(features)  # otherwise a field that no event has would fail only at the first event
    models = model_config.load_models(folder / "models.yaml")
    features_of = {model.name: models.names for model in models.models}
    bare = Layout(features, features_of, [])
    names = Names(
        views=list(bare.view_index),
        scores=[model.name for model in models.models],
        fields=[field.name for field in features.fields],
        kinds=features.kinds,
        deadlines=bare.deadline_columns,
        strings=frozenset(_string_fields(features)),
    )
    opens = _check_models(models, names, features)
    policies = load_policies(folder / "policies.yaml", names, hash_text)
    kept = {model.name: model.kept for model in models.models}
    layout = Layout(features, features_of, [policy.name for policy in policies], kept)
    return Config(features, models, policies, layout, names, opens)


def _check_models(models: model_config.ModelConfig, names: Names, features: Features) -> dict[str, Condition]:
    """Check that the models name known views, fields and event kinds, and that no row expires before its example.

    Returns the `if` conditions by model. A condition may not read scores, or what a model learns would depend on what
    it learned before.
    """
    views, opens = names.views, {}
    for feature in models.features:
        if feature.view is not None and feature.view not in views:
            near = suggestion(feature.view, views, "a view")
            raise feature.place.error(f"unknown view {feature.view!r}; {near}", "view")
    for model in models.models:
        for key, kinds in (("open", model.open), ("proof", model.proof)):
            for kind in kinds:
                if kind not in features.kinds:
                    expected = f"expected one of {', '.join(features.kinds)}"
                    raise model.place.error(f"{key}: unknown event kind {kind!r}; {expected}", key)
        if model.within_ms >= features.expire_after_ms:
            raise model.place.error("within: expected less than expire_after of features.yaml", "within")
        if model.amount is not None:
            _check_field(model, "amount", model.amount, names, features)
            _check_read(model, "amount", model.amount, model.proof, features)
        if model.same is not None:
            _check_field(model, "same", model.same, names, features)
            _check_read(model, "same", model.same, (*model.proof, *model.open), features)
        if model.condition:
            opens[model.name] = _opening(model, names)
    return opens


def _opening(model: ModelSpec, names: Names) -> Condition:
    def wrong(message: str) -> ConfigError:
        return model.place.error(f"if: {message}", "if")

    condition = compile_condition(model.condition, names, wrong, hash_text)
    for read in condition.inputs:
        if read.type == "score":
            raise wrong(f"{read} is a score; expected columns and fields of the event only")
    return condition


def _check_read(model: ModelSpec, key: str, field: str, kinds: Sequence[str], features: Features) -> None:
    """Check that events of `kinds` have the field. Otherwise the model would never get an example."""
    paths = features.fields[features.field_index(field)].paths
    kinds_of = event_kinds()
    for kind in kinds:
        topics = [source.topic for source in features.sources if kind in kinds_of[source.schema]]
        if not any(topic in paths for topic in topics):
            wrong = f"expected a field that fields of features.yaml read from {kind} events, {field} is not"
            raise model.place.error(f"{key}: {wrong}", key)


def _check_field(model: ModelSpec, key: str, field: str, names: Names, features: Features) -> None:
    """Check that the field suits `key`: neither a sum (`amount`) nor a comparison (`same`) works with bits, and a
    string has no sum."""
    if field not in names.fields:
        near = suggestion(field, names.fields, "a field")
        raise model.place.error(f"{key}: unknown field {field!r}; {near}", key)
    if features.fields[features.field_index(field)].reduce == "bits":
        raise model.place.error(f"{key}: expected a field that is one value, {field} is a set", key)
    if key == "amount" and f"event.{field}" in names.strings:
        raise model.place.error(f"{key}: expected a number, {field} is a string", key)


def _string_fields(features: Features) -> list[str]:
    """Return the fields whose number is the hash of a string, and the columns that keep the value of one."""
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
