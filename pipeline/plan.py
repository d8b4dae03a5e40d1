"""Lays out as flat arrays what the pass reads: columns, views, features, models, policies, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from customers.row import DECAY, PLAIN, Features, FoldProgram, Layout, fold_program
from decisions.policies import PolicyProgram
from models.config import ModelConfig
from models.scoring import FeaturePlan as TransformPlan
from schemas import schema_id

ALERTS, OFFERS, EXAMPLES = range(3)
OUTPUT_TOPICS = ("alerts", "offers", "training.examples")


class Texts(NamedTuple):
    """Concatenated byte strings: text i is `data[ends[i] : ends[i + 1]]`."""

    data: Any
    ends: Any


def texts(names: list[str]) -> Texts:
    """Pack names for kernels."""
    encoded = [name.encode() for name in names]
    ends = np.cumsum([0, *(len(name) for name in encoded)]).astype(np.int64)
    return Texts(np.frombuffer(b"".join(encoded) or b"\0", np.uint8).copy(), ends)


class Views(NamedTuple):
    """How `customers.row.fold.view` reads each view: int64[v], int64[v], float64[v]."""

    opcode: Any
    word: Any
    parameter: Any


class Vector(NamedTuple):
    """The feature vector.

    source: int64[f], the view of each feature; -1 for a calendar feature
    plain: int64[f], the word that holds the view as of the row's clock; 0 if no word does
    other: int64[k], the features that have a view but no such word
    code, missing: transform codes, and the values that stand for NaN
    apart: int64[a], positions of the features computed apart (see `models.scoring.features`)
    """

    source: Any
    plain: Any
    other: Any
    code: Any
    missing: Any
    apart: Any


# Columns of `LabelArrays.about`: the first word of the open example and its number of words; the word and the field of
# the sum (word 0: the label is yes or no); the word and the field that a proof shares with the opening event (word 0:
# none); the rule that must hold to open (-1: none); the label that a proof gives (the deadline gives the other)
WORD, WORDS, SUM_WORD, SUM_FIELD, SAME_WORD, SAME_FIELD, GATE, ON_PROOF = range(8)


class LabelArrays(NamedTuple):
    """Labels. An event of kind k may open examples of the models `open_model[open_start[k]:open_start[k + 1]]` and may
    prove those of `proof_model` likewise (int64, in the order of the file). `within_ms: float64[m]`.
    `about: int64[m, 8]`, see above, is one array because every further array adds seven words to each call."""

    open_start: Any
    open_model: Any
    proof_start: Any
    proof_model: Any
    within_ms: Any
    about: Any


class PolicyArrays(NamedTuple):
    """`PolicyProgram` without its Python objects, with the output topic of each policy and the word of its state.

    The conditions for examples to open follow the policies; `topic` and `word` have policies only.
    """

    code: Any
    constants: Any
    when_start: Any
    when_stop: Any
    exit_start: Any
    exit_stop: Any
    cooldown_ms: Any
    input_start: Any
    input_type: Any
    input_index: Any
    scored: Any
    asks_null: Any
    kind_start: Any
    kind_policy: Any
    deadline_start: Any
    deadline_policy: Any
    topic: Any
    word: Any


class PassPlan(NamedTuple):
    """The constants of a layout and its policies. `bit_fields: uint8[f]`: the field is a set of bits, carried as the
    bit pattern of its float64."""

    fold: FoldProgram
    views: Views
    vector: Vector
    models: LabelArrays
    rules: PolicyArrays
    deadline_words: Any
    deadline_columns: int
    ring_at: int
    ring_size: int
    bit_fields: Any
    lateness_ms: float
    expire_after_ms: float
    layout_id: int
    decision_schema: int
    example_schema: int
    topics: Texts
    kinds: Texts
    deadlines: Texts
    policy_names: Texts
    model_names: Texts


def build_plan(
    features: Features, layout: Layout, config: ModelConfig, program: PolicyProgram, gates: Sequence[str] = ()
) -> PassPlan:
    """Lay everything out for the kernels. `gates`: the models whose conditions follow the policies."""
    view_of = [layout.view_index[f.view] if f.view is not None else -1 for f in config.features]
    policies = [policy.name for policy in program.policies]
    return PassPlan(
        fold=fold_program(features, layout),
        views=Views(
            np.array([v.opcode for v in layout.views], np.int64),
            np.array([v.word for v in layout.views], np.int64),
            np.array([v.parameter for v in layout.views], np.float64),
        ),
        vector=Vector(
            np.array(view_of, np.int64),
            *_plain_words(layout, view_of),
            *_transforms(config),
        ),
        models=_models(features, layout, config, {name: len(policies) + n for n, name in enumerate(gates)}),
        rules=PolicyArrays(
            **{name: getattr(program, name) for name in PolicyArrays._fields[:-2]},
            topic=np.array([OFFERS if p.kind == "offer" else ALERTS for p in program.policies], np.int64),
            word=np.array([layout.policy_at[name] for name in policies], np.int64),
        ),
        deadline_words=layout.deadline_words,
        deadline_columns=len(layout.deadline_columns),
        ring_at=layout.ring_at,
        ring_size=layout.ring_size,
        bit_fields=np.array([f.reduce == "bits" for f in features.fields], np.uint8),
        lateness_ms=features.lateness_ms,
        expire_after_ms=features.expire_after_ms,
        layout_id=layout.layout_id,
        decision_schema=schema_id("decision"),
        example_schema=schema_id("training_example"),
        topics=texts(layout.topics),
        kinds=texts(list(features.kinds)),
        deadlines=texts(layout.deadline_columns),
        policy_names=texts(policies),
        model_names=texts([model.name for model in config.models]),
    )


def _plain_words(layout: Layout, view_of: list[int]) -> tuple[Any, Any]:
    """Return `Vector.plain` and `Vector.other`. Most views, as of the row's clock, are a word of the row, so that the
    kernel need not branch on their opcode."""
    plain = np.zeros(len(view_of), np.int64)
    other = []
    for feature, number in enumerate(view_of):
        if number >= 0 and layout.views[number].opcode in (PLAIN, DECAY):
            plain[feature] = layout.views[number].word
        elif number >= 0:
            other.append(feature)
    return plain, np.array(other, np.int64)


def _transforms(config: ModelConfig) -> tuple[Any, Any, Any]:
    plan = TransformPlan.of(config.features)
    return plan.codes, plan.missing, plan.apart


def _models(features: Features, layout: Layout, config: ModelConfig, gates: Mapping[str, int]) -> LabelArrays:
    models = config.models
    about = [
        (
            layout.example_at[model.name],
            layout.example_words[model.name],
            layout.kept_at(model.name, "sum"),
            features.field_index(model.amount) if model.amount else 0,
            layout.kept_at(model.name, "same"),
            features.field_index(model.same) if model.same else 0,
            gates.get(model.name, -1),
            model.positive != "deadline",
        )
        for model in models
    ]
    return LabelArrays(
        *_listed([model.open for model in models], features.kinds),
        *_listed([model.proof for model in models], features.kinds),
        within_ms=np.array([model.within_ms for model in models], np.float64),
        about=np.array(about, np.int64).reshape(-1, 8),
    )


def _listed(named: Sequence[Sequence[str]], kinds: Sequence[str]) -> tuple[Any, Any]:
    """Return the numbers of those that name each kind, as (starts, numbers)."""
    lists = [[number for number, names in enumerate(named) if kind in names] for kind in kinds]
    starts = np.cumsum([0, *(len(found) for found in lists)]).astype(np.int64)
    return starts, np.array([number for found in lists for number in found], np.int64)
