"""From what is seen of a customer to features, and by a linear model to a score."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.reference.declared import Feature

DAY_MS = 86_400_000


class Snapshot(NamedTuple):
    """A linear model: score = 1 / (1 + exp(-(bias + weights . features)))."""

    version: int
    bias: float
    weights: Sequence[float]


def vector(features: Sequence[Feature], seen: Mapping[str, float], now: int) -> list[float]:
    """The feature vector in float64; `missing` stands for NaN before the transform."""
    out = []
    for feature in features:
        value = seen[feature.view] if feature.view else math.nan
        if feature.transform == "hashed":
            out.append(0.0 if math.isnan(value) else float(int(value) % 8 == feature.bucket))
            continue
        if math.isnan(value):
            value = feature.missing
        out.append(transformed(feature.transform, value, now))
    return out


def score(snapshot: Snapshot | None, features: Sequence[float]) -> float:
    if snapshot is None:
        return math.nan
    pairs = zip(snapshot.weights, features, strict=True)
    return logistic(snapshot.bias + sum(weight * value for weight, value in pairs))


def transformed(transform: str, value: float, now: int) -> float:
    """One feature. The hour is the part of the UTC day that has passed; the weekday counts whole days."""
    day, in_day = divmod(now, DAY_MS)
    hour_angle = 2 * math.pi * in_day / DAY_MS
    weekday_angle = 2 * math.pi * ((day + 3) % 7) / 7  # 1970-01-01 was a Thursday
    match transform:
        case "log1p":
            return math.log1p(max(value, 0.0))
        case "identity":
            return value
        case "hour_sin":
            return math.sin(hour_angle)
        case "hour_cos":
            return math.cos(hour_angle)
        case "weekday_sin":
            return math.sin(weekday_angle)
        case "weekday_cos":
            return math.cos(weekday_angle)
    raise ValueError(f"unknown transform {transform!r}")


def logistic(z: float) -> float:
    try:
        return 1 / (1 + math.exp(-z))
    except OverflowError:
        return 0.0


def float32(value: float) -> float:
    """`value` as a float32 holds it."""
    try:
        packed: tuple[float] = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return packed[0]
