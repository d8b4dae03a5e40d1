"""What `config/models.yaml` declares: the shared feature vector and the models that see it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from config.located_yaml import LocatedMapping, duration_ms, load

VIEW_TRANSFORMS: Final = ("log1p", "identity")
CALENDAR_TRANSFORMS: Final = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
HASHED: Final = "hashed"  # one line of the file makes one feature for each bucket
BUCKETS: Final = 8  # a power of two
IN_BUCKET: Final = "#"  # between the names of a view and of a bucket
EXPERTS: Final = ("linear", "additive", "trees")
_LEAST_MEMORY: Final = 100.0
_LARGEST_MEMORY: Final = 1e9
MAIN: Final = "main"  # the first champion


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of the vector: a transformed view, or a number of the calendar (`view` is None).

    `missing` replaces a NaN view before the transform. `name` is unique: that of the view or the calendar transform.
    `bucket` is for a hashed view: the feature is 1 if the view falls into this bucket, else 0. `place`: position in
    the file.
    """

    view: str | None
    transform: str
    missing: float
    name: str
    bucket: int = 0
    place: LocatedMapping = field(default_factory=LocatedMapping, compare=False, repr=False)

    @property
    def identity(self) -> str:
        """Return the name, with the transform and `missing` unless they are the defaults.

        Numbers of features with the same identity mean the same.
        """
        usual = (VIEW_TRANSFORMS[0], HASHED, self.name)
        transform = "" if self.transform in usual else f" {self.transform}"
        return self.name + transform + (f" missing={self.missing:g}" if self.missing else "")


@dataclass(frozen=True, slots=True)
class Learning:
    """How a model learns: its experts, and the rates of the two that learn from every example."""

    experts: tuple[str, ...] = EXPERTS
    linear_memory: float = 10_000.0  # examples: about this many of the latest count
    additive_rate: float | None = (
        None  # of AdaGrad; None: the default of `models.learning.task` for this kind of label
    )


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A question about a customer: events of the kinds `open` ask it, `proof` or `within_ms` of silence answers it.

    `positive`: what makes the label 1. It is None if the label is an amount: the sum of the field `amount` over all
    proofs. `same`: a field in which a proof must equal the opening event. `condition`: SQL over the row and the event
    that must hold for an example to open; "" for none. `learners`: how the champion (MAIN) and its challengers learn,
    by name. `place`: position in the file.
    """

    name: str
    open: tuple[str, ...]
    proof: tuple[str, ...]
    within_ms: float
    positive: Literal["proof", "deadline"] | None
    amount: str | None = None
    same: str | None = None
    condition: str = ""
    learners: Mapping[str, Learning] = field(default_factory=lambda: {MAIN: Learning()})
    place: LocatedMapping = field(default_factory=LocatedMapping, compare=False, repr=False)

    @property
    def kept(self) -> tuple[str, ...]:
        """Return what an open example stores besides its features, one number each."""
        found = (("sum", self.amount), ("same", self.same))
        return tuple(f"{what}:{field}" for what, field in found if field is not None)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The whole file, validated."""

    features: tuple[Feature, ...]
    models: tuple[ModelSpec, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the identities of the features, in the order of every vector, example and snapshot."""
        return tuple(feature.identity for feature in self.features)


def load_models(path: str | Path) -> ModelConfig:
    """Read the file; a ConfigError names the line to correct and what was expected there.

    >>> from config.settings import Settings
    >>> [model.name for model in load_models(Settings().config / "models.yaml").models]
    ['purchase', 'churn', 'response', 'lead', 'value']
    """
    top = load(path)
    top.expect({"features", "models"}, {"features", "models"})
    return ModelConfig(_features(top), _models(top))


def _features(top: LocatedMapping) -> tuple[Feature, ...]:
    items = top["features"]
    if not isinstance(items, list) or not items:
        raise top.error("features: expected a list of {view, transform, missing}", "features")
    features: list[Feature] = []
    for item in items:
        if not isinstance(item, LocatedMapping):
            raise top.error(
                f"features: expected {{view: NAME}} or {{transform: NAME}}, got {item!r}", "features"
            )
        for feature in _features_of(item):
            if any(feature.name == other.name for other in features):
                raise item.error(f"feature {feature.name!r} appears twice; expected each once")
            features.append(feature)
    return tuple(features)


def _features_of(item: LocatedMapping) -> list[Feature]:
    """Return the features that one line of the file declares."""
    item.expect({"view", "transform", "missing"})
    transform = item.get("transform", VIEW_TRANSFORMS[0])
    known = (*VIEW_TRANSFORMS, HASHED, *CALENDAR_TRANSFORMS)
    if transform not in known:
        raise item.error(f"transform: expected one of {', '.join(known)}, got {transform!r}", "transform")
    if transform in CALENDAR_TRANSFORMS:
        for key in ("view", "missing"):
            if key in item:
                raise item.error(f"{key}: expected none, {transform} reads the clock", key)
        return [Feature(None, transform, 0.0, transform, place=item)]
    view = item.get("view")
    if not isinstance(view, str) or not view:
        raise item.error(f"view: expected the name of a view for {transform}, got {view!r}", "view")
    if transform != HASHED:
        return [Feature(view, transform, _number(item, "missing"), view, place=item)]
    if "missing" in item:
        raise item.error("missing: expected none, a NaN view falls into no bucket", "missing")
    names = [f"{view}{IN_BUCKET}{number}" for number in range(BUCKETS)]
    return [Feature(view, HASHED, 0.0, name, number, item) for number, name in enumerate(names)]


def _number(item: LocatedMapping, key: str, usual: float = 0.0) -> float:
    value = item.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise item.error(f"{key}: expected a finite number, got {value!r}", key)
    return float(value)


def _models(top: LocatedMapping) -> tuple[ModelSpec, ...]:
    items = top["models"]
    if not isinstance(items, LocatedMapping) or not items:
        raise top.error("models: expected a mapping of names to {open, proof, within, positive}", "models")
    return tuple(_model(name, items[name], items) for name in items)


def _model(name: str, item: Any, items: LocatedMapping) -> ModelSpec:
    # SQL conditions use the names of models beside those of views.
    if not name.isidentifier():
        raise items.error(f"model {name!r}: expected letters, digits and underscores", name)
    if not isinstance(item, LocatedMapping):
        raise items.error(f"{name}: expected a mapping with open, proof, within and positive", name)
    keys = {"open", "proof", "within"}
    item.expect({*keys, "positive", "amount", "same", "if", "learning", "challengers"}, keys)
    if ("positive" in item) == ("amount" in item):
        raise item.error(f"{name}: expected either positive (yes or no) or amount (a field to sum up)")
    positive = item.get("positive")
    if "positive" in item and positive not in ("proof", "deadline"):
        raise item.error(f"positive: expected proof or deadline, got {positive!r}", "positive")
    return ModelSpec(
        name,
        _kinds(item, "open"),
        _kinds(item, "proof"),
        duration_ms(item, "within"),
        positive,
        _field(item, "amount"),
        _field(item, "same"),
        _condition(item),
        _learners(item),
        item,
    )


def _field(item: LocatedMapping, key: str) -> str | None:
    field = item.get(key)
    if key in item and (not isinstance(field, str) or not field):
        raise item.error(f"{key}: expected the name of a field of events, got {field!r}", key)
    return field


def _condition(item: LocatedMapping) -> str:
    condition = item.get("if", "")
    if "if" in item and (not isinstance(condition, str) or not condition.strip()):
        raise item.error(f"if: expected a condition such as order_count = 0, got {condition!r}", "if")
    return str(condition)


def _learners(item: LocatedMapping) -> dict[str, Learning]:
    found = {MAIN: _learning(item, "learning")}
    challengers = item.get("challengers")
    if challengers is None:
        return found
    if not isinstance(challengers, LocatedMapping):
        raise item.error(
            f"challengers: expected names with how each learns, got {challengers!r}", "challengers"
        )
    for name in challengers:
        if not name.isidentifier() or name == MAIN:
            raise challengers.error(f"{name}: expected letters, digits and underscores, and not {MAIN}", name)
        found[name] = _learning(challengers, name)
    return found


def _learning(holder: LocatedMapping, key: str) -> Learning:
    item = holder.get(key)
    if item is None:
        return Learning()
    if not isinstance(item, LocatedMapping):
        raise holder.error(f"{key}: expected {{experts, linear_memory, additive_rate}}, got {item!r}", key)
    item.expect({"experts", "linear_memory", "additive_rate"})
    usual = Learning()
    experts = item.get("experts", list(usual.experts))
    if not isinstance(experts, list) or not experts or not set(map(str, experts)) <= set(EXPERTS):
        raise item.error(f"experts: expected some of {', '.join(EXPERTS)}, got {experts!r}", "experts")
    memory = _number(item, "linear_memory", usual.linear_memory)
    if not _LEAST_MEMORY <= memory <= _LARGEST_MEMORY:
        expected = f"a number of examples from {_LEAST_MEMORY:g} to {_LARGEST_MEMORY:g}"
        raise item.error(f"linear_memory: expected {expected}, got {memory:g}", "linear_memory")
    rate = _number(item, "additive_rate") if "additive_rate" in item else usual.additive_rate
    if rate is not None and not 0.0 < rate <= 1.0:
        raise item.error(f"additive_rate: expected a number above 0, up to 1, got {rate:g}", "additive_rate")
    return Learning(tuple(name for name in EXPERTS if name in experts), memory, rate)


def _kinds(item: LocatedMapping, key: str) -> tuple[str, ...]:
    kinds = item[key]
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise item.error(f"{key}: expected a list of event kinds such as [order], got {kinds!r}", key)
    if len(set(kinds)) < len(kinds):
        raise item.error(f"{key}: expected each kind once, got {kinds!r}", key)
    return tuple(kinds)
