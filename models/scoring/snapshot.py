"""Snapshots: the learner publishes them, the workers score with them. Arrays and plain data, never code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.example import time_ms
from streams.errors import Poison

from .forest import ABSENT, no_forest
from .scorer import CELLS, EXPERTS, Weights, contributions, score, seeds
from .trees import TREES, Trees

LINEAR: Final = "linear"
MIXTURE: Final = "mixture"
AMOUNT: Final = "amount"  # a mixture whose score is an amount

_KINDS: Final = (LINEAR, MIXTURE, AMOUNT)  # in the order of `models.scoring.scorer.Weights.mixed`

# Far above any learned weight; with weights below it, a logit of F features within 1e6 cannot overflow.
_LARGEST_WEIGHT: Final = 1e12

# A larger version is no count of snapshots; the next one still fits into every type that holds it.
LARGEST_VERSION: Final = 2**53


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of a model; `created` in milliseconds since the epoch.

    Kind `linear`: score = 1 / (1 + exp(-(bias + weights . features))), with unscaled features in the order of
    `features`. Kind `mixture`: that is the first expert; `mixing` (a bias, a weight for each expert), `table` and
    `trees` are the rest, see `models.scoring.scorer`. Kind `amount`: the score is the exponential of the same sum.
    `state` lets a learner continue; `applied` is the last offset learned of each partition.
    """

    model: str
    version: int
    created: int
    kind: str
    features: tuple[str, ...]
    bias: float
    weights: tuple[float, ...]
    examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    state: bytes = b""
    applied: Mapping[str, int] = field(default_factory=dict)
    mixing: tuple[float, ...] = ()
    table: bytes = b""
    trees: bytes = b""
    contest: bytes = b""
    typical: tuple[float, ...] = ()  # the mean of each feature, to explain scores; empty: not known
    known: tuple[bool, ...] = ()  # for each feature, whether the model weighs it; empty: all

    def verify(self, features: Sequence[str]) -> None:
        """Raise Poison with the reason why a worker with these features must not score with it.

        The worker may have features that the snapshot does not weigh: see `aligned`.
        """
        reason = self._flaw(tuple(features))
        if reason:
            raise Poison(f"snapshot {self.model}/{self.version} refused: {reason}")

    def _flaw(self, features: tuple[str, ...]) -> str:
        if self.kind not in _KINDS:
            return f"expected a kind of {', '.join(_KINDS)}, got {self.kind!r}"
        if not 0 < self.version <= LARGEST_VERSION:
            return f"expected a version from 1 to {LARGEST_VERSION}, got {self.version}"
        if len(self.weights) != len(self.features):
            return f"{len(self.weights)} weights for {len(self.features)} features"
        if len(set(self.features)) != len(self.features):
            return "a feature appears twice"
        for name in self.features:
            if name not in features:
                return f"it weighs feature {name!r}, which config/models.yaml here does not have"
        for name, weight in zip(("bias", *self.features), (self.bias, *self.weights), strict=True):
            # the comparison is false for NaN
            if not abs(weight) <= _LARGEST_WEIGHT:
                return f"weight of {name} is {weight}"
        return "" if self.kind == LINEAR else self._flaw_of_mixture()

    def _flaw_of_mixture(self) -> str:
        if len(self.mixing) != 1 + len(EXPERTS) or not all(abs(a) <= _LARGEST_WEIGHT for a in self.mixing):
            return f"mixing is {self.mixing}; expected a bias and {len(EXPERTS)} weights"
        if len(self.table) != 4 * CELLS or not np.isfinite(self._cells()).all():
            return f"a table of {len(self.table)} bytes; expected {CELLS} finite float32"
        if len(self.typical) not in (0, len(self.features)) or not np.isfinite(self.typical).all():
            return (
                f"{len(self.typical)} typical values for {len(self.features)} features, or one is no number"
            )
        try:
            Trees.unpacked(self.trees, len(self.features))
        except ValueError as error:
            return str(error)
        return ""

    def _cells(self) -> NDArray[np.float32]:
        return np.frombuffer(self.table, "<f4")

    def aligned(self, features: Sequence[str]) -> Snapshot:
        """Return the snapshot for vectors of `features`; a feature that it does not weigh gets the weight 0.

        A feature of its own that is not among them is dropped; trees that split by it see 0, as for any absent value.
        """
        features = tuple(features)
        if features == self.features:
            return self
        weights = dict(zip(self.features, self.weights, strict=True))
        typical = dict(zip(self.features, self.typical, strict=False))
        trees = self.trees
        if trees:
            places = np.array([_place(features, name) for name in self.features], np.int16)
            trees = Trees.unpacked(trees, len(self.features)).renumbered(places).packed()
        return replace(
            self,
            features=features,
            weights=tuple(weights.get(name, 0.0) for name in features),
            trees=trees,
            typical=tuple(typical.get(name, 0.0) for name in features) if typical else (),
            known=tuple(name in weights for name in features),
        )

    def put(self, weights: Weights, model: int) -> None:
        """Put it in force as model number `model`."""
        weights.weights[model], weights.bias[model] = self.weights, self.bias
        weights.mixed[model] = _KINDS.index(self.kind)
        if self.kind != LINEAR:
            weights.mixing[model], weights.table[model] = self.mixing, self._cells()
            weights.seeds[model] = seeds(self.features)
            if self.known:
                weights.seeds[model, ~np.array(self.known)] = 0
            Trees.unpacked(self.trees, len(self.features)).put(weights.forest, model)
        weights.have[model], weights.version[model] = 1, self.version

    def score(self, features: Sequence[float]) -> float:
        """Return the score of one vector, as a worker computes it."""
        weights = no_weights(1, len(self.features))
        self.put(weights, 0)
        return float(score(np.array(features, np.float64), 0, weights))

    def contributions(self, features: Sequence[float]) -> list[float]:
        """Return what each feature of a vector adds to the log-odds; empty if typical values are not known."""
        if not self.typical:
            return []
        weights, found = no_weights(1, len(self.features)), np.zeros(len(self.features))
        self.put(weights, 0)
        contributions(np.array(features, np.float64), np.array(self.typical), 0, weights, found)
        return [float(one) for one in found]

    def to_record(self) -> dict[str, Any]:
        """Return the Avro record `model_snapshot`."""
        return {
            "model": self.model,
            "version": self.version,
            "created": self.created,
            "kind": self.kind,
            "features": list(self.features),
            "bias": self.bias,
            "weights": list(self.weights),
            "examples": self.examples,
            "metrics": dict(self.metrics),
            "state": self.state,
            "applied": dict(self.applied),
            "mixing": list(self.mixing),
            "table": self.table,
            "trees": self.trees,
            "contest": self.contest,
            "typical": list(self.typical),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Snapshot:
        """Read the decoded Avro record, without `verify`; raise Poison if it is not a snapshot."""
        try:
            return cls(
                model=str(record["model"]),
                version=int(record["version"]),
                created=time_ms(record["created"]),
                kind=str(record["kind"]),
                features=tuple(map(str, record["features"])),
                bias=float(record["bias"]),
                weights=tuple(map(float, record["weights"])),
                examples=int(record["examples"]),
                metrics={str(name): float(value) for name, value in record["metrics"].items()},
                state=_bytes(record["state"]),
                applied={str(name): int(offset) for name, offset in record["applied"].items()},
                mixing=tuple(map(float, record["mixing"])),
                table=_bytes(record["table"]),
                trees=_bytes(record["trees"]),
                contest=_bytes(record["contest"]),
                typical=tuple(map(float, record["typical"])),
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise Poison(f"not a model snapshot: {type(error).__name__} {error}") from error


def no_weights(models: int, features: int) -> Weights:
    """Allocate weights for so many models, none of them in force.

    >>> weights = no_weights(2, 40)
    >>> weights.weights.shape, weights.have.tolist()
    ((2, 40), [0, 0])
    """
    return Weights(
        weights=np.zeros((models, features)),
        bias=np.zeros(models),
        have=np.zeros(models, np.uint8),
        version=np.zeros(models, np.int64),
        mixed=np.zeros(models, np.uint8),
        mixing=np.zeros((models, 1 + len(EXPERTS))),
        seeds=np.zeros((models, features), np.int64),
        table=np.zeros((models, CELLS), np.float32),
        forest=no_forest(models, features, TREES),
    )


def _bytes(value: Any) -> bytes:
    """Return bytes; fastavro returns the default of a bytes field as text, as Avro writes it."""
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)


def _place(features: tuple[str, ...], name: str) -> int:
    return features.index(name) if name in features else ABSENT
