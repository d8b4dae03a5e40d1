"""A matured example: the features at a decision, and the label that followed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from streams.errors import Poison

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Example:
    """One record of `training.examples`; times in milliseconds since the epoch.

    `features` are those at the decision, in the order of `layout` (0: that of the config). `score` is the score given
    at the decision (NaN: there was no snapshot), and `snapshot` the version that gave it. `label` is 0 or 1, or an
    amount; it became known at `label_time`.
    """

    id: str
    customer: str
    model: str
    label: float
    opened: int
    due: int
    label_time: int
    score: float
    snapshot: int
    features: tuple[float, ...]
    layout: int = 0

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Example:
        """Read the decoded Avro record; raise Poison if it is not a training example."""
        try:
            example = cls(
                id=str(record["id"]),
                customer=str(record["customer"]),
                model=str(record["model"]),
                label=_label(record),
                opened=time_ms(record["opened"]),
                due=time_ms(record["due"]),
                label_time=time_ms(record["label_time"]),
                score=float(record["score"]),
                snapshot=int(record["snapshot"]),
                features=tuple(map(float, record["features"])),
                layout=int(record.get("layout", 0)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Poison(f"not a training example: {type(error).__name__} {error}") from error
        if not math.isfinite(example.label):
            raise Poison(f"training example {example.id}: expected a finite label, got {example.label}")
        if math.isinf(example.score):  # NaN: there was no score
            raise Poison(f"training example {example.id}: expected a finite score, got {example.score}")
        return example

    def check_binary(self) -> None:
        """Raise Poison if the label is neither 0 nor 1, or the score is not a probability."""
        if self.label not in (0.0, 1.0):
            raise Poison(f"training example {self.id}: expected label 0 or 1, got {self.label:g}")
        if not (self.score != self.score or 0.0 <= self.score <= 1.0):
            raise Poison(f"training example {self.id}: expected a score from 0 to 1, got {self.score}")

    def by_name(self, theirs: Sequence[str], ours: Sequence[str]) -> Example:
        """Return the example with the features `ours`, taken by name from its own, `theirs`; a missing one is NaN."""
        if len(theirs) != len(self.features):
            have, want = len(self.features), len(theirs)
            raise Poison(f"example {self.id} has {have} features, its layout {self.layout} has {want}")
        if tuple(theirs) == tuple(ours):
            return self
        known = dict(zip(theirs, self.features, strict=True))
        return replace(self, features=tuple(known.get(name, math.nan) for name in ours))


def _label(record: Mapping[str, Any]) -> float:
    """Return the amount if there is one (from version 3 of the schema on), else 0 or 1."""
    amount = record.get("amount")
    return float(record["label"] if amount is None else amount)


def time_ms(value: Any) -> int:
    """Return a timestamp-millis, decoded to a number or to a datetime, as milliseconds."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MS
    return int(value)
