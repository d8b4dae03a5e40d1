"""What the learner publishes and the workers score with: arrays and plain data, never code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.example import time_ms
from streams.errors import Poison

LINEAR: Final = "linear"

# Far above any weight that is learned; below it a logit of F features within 1e6 cannot overflow.
_LARGEST_WEIGHT: Final = 1e12

# A version beyond this is no count of snapshots; the one after it still fits everywhere.
LARGEST_VERSION: Final = 2**53


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of a model; `created` in milliseconds since the epoch.

    score = 1 / (1 + exp(-(bias + weights . features))), features unscaled, in the order of their names.
    `state` is the learner's own, to go on from; `applied` the last offset learned of each partition.
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

    def verify(self, features: Sequence[str]) -> None:
        """Raise Poison with the reason why a worker with these features must not score with it.

        It may have features that the snapshot does not weigh: see `aligned`.
        """
        reason = self._flaw(tuple(features))
        if reason:
            raise Poison(f"snapshot {self.model}/{self.version} refused: {reason}")

    def _flaw(self, features: tuple[str, ...]) -> str:
        if self.kind != LINEAR:
            return f"expected kind {LINEAR!r}, got {self.kind!r}"
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
            # Written so that NaN fails too.
            if not abs(weight) <= _LARGEST_WEIGHT:
                return f"weight of {name} is {weight}"
        return ""

    def aligned(self, features: Sequence[str]) -> Snapshot:
        """The same with its weights in the order of `features`; one that it does not weigh gets the weight 0."""
        if tuple(features) == self.features:
            return self
        weights = dict(zip(self.features, self.weights, strict=True))
        return replace(
            self, features=tuple(features), weights=tuple(weights.get(name, 0.0) for name in features)
        )

    def array(self) -> NDArray[np.float64]:
        """The weights: float64[F]."""
        return np.array(self.weights, dtype=np.float64)

    def score(self, features: Sequence[float]) -> float:
        """The score of one vector in plain Python; the kernel's twin, for tools and tests."""
        logit = self.bias + math.fsum(w * x for w, x in zip(self.weights, features, strict=True))
        small = math.exp(-abs(logit))
        return (1.0 if logit >= 0 else small) / (1.0 + small)

    def to_record(self) -> dict[str, Any]:
        """The dict of the Avro record `model_snapshot`."""
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
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Snapshot:
        """From the decoded Avro record; raises Poison where it is none. Not yet verified."""
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
                state=bytes(record["state"]),
                applied={str(name): int(offset) for name, offset in record["applied"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise Poison(f"not a model snapshot: {type(error).__name__} {error}") from error
