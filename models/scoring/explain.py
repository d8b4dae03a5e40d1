"""The reasons of a score, for a support agent: the features that moved it most, compared with usual values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.config import CALENDAR_TRANSFORMS, HASHED, Feature, ModelConfig

from .features import FeaturePlan, transform
from .snapshot import Snapshot

REASONS: Final = 4
# A twentieth of a unit of log-odds moves a score by about a percent; less is no reason.
_LEAST: Final = 0.05
_TIMES: Final = {
    "hour_sin": "time of day",
    "hour_cos": "time of day",
    "weekday_sin": "weekday",
    "weekday_cos": "weekday",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a score.

    `weight`: what the log-odds of the score would lose if `value` (NaN: there is none) were `usual`. `usual` is NaN if
    the value is not a quantity.
    """

    name: str
    value: float
    usual: float
    weight: float

    def __str__(self) -> str:
        way = "raises" if self.weight > 0 else "lowers"
        if math.isnan(self.usual):
            return f"{self.name} {way} it"
        value = "none" if math.isnan(self.value) else f"{self.value:.3g}"
        return f"{self.name} {value} (usually {self.usual:.3g}) {way} it"


class Explainer:
    """Explains scores under one config. Cheap enough for every alert: one scoring a feature, and one more."""

    def __init__(self, config: ModelConfig) -> None:
        self._features = config.features
        self._plan = FeaturePlan.of(config.features)

    def reasons(
        self, snapshot: Snapshot, views: Mapping[str, float], now_ms: float, most: int = REASONS
    ) -> list[Reason]:
        """Return the features that moved the score of these views most, the strongest first."""
        seen = [math.nan if f.view is None else views.get(f.view, math.nan) for f in self._features]
        x = np.empty(len(seen))
        transform(np.array(seen), now_ms, self._plan.codes, self._plan.missing, self._plan.apart, x)
        found: dict[str, Reason] = {}
        parts = zip(self._features, seen, snapshot.contributions(x.tolist()), snapshot.typical, strict=False)
        for feature, value, weight, typical in parts:
            name = _TIMES.get(feature.transform, feature.view or feature.name)
            before = found[name].weight if name in found else 0.0
            found[name] = Reason(name, value, _view(feature, typical), before + weight)
        strongest = sorted(found.values(), key=lambda reason: -abs(reason.weight))
        return [reason for reason in strongest[:most] if abs(reason.weight) >= _LEAST]


def _view(feature: Feature, number: float) -> float:
    """Convert a number of a feature to the units of its view; NaN if it is not a quantity."""
    if feature.transform in (*CALENDAR_TRANSFORMS, HASHED):
        return math.nan
    return math.expm1(min(number, 700.0)) if feature.transform == "log1p" else number
