"""How well the models did on a stream, by the scores they gave at the time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.example import Example
from models.metrics import auc, ece, log_loss

# Columns of the Parquet file beside the features; a feature of the same name is prefixed.
_COLUMNS = ("id", "customer", "model", "label", "decision_time", "due", "label_time", "score", "snapshot")


@dataclass(frozen=True, slots=True)
class Figures:
    """One model over the examples that count; None: not defined (no examples, or of one class)."""

    examples: int
    positives: int
    auc: float | None
    log_loss: float | None
    ece: float | None
    unscored: int

    def to_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


class Evaluation:
    """Collects matured examples; about 4 bytes a feature and 300 for the rest of each."""

    def __init__(self, features: Sequence[str]) -> None:
        self.features = tuple(features)
        self._ids: list[str] = []
        self._customers: list[str] = []
        self._models: list[str] = []
        self._labels = array("d")
        self._times = array("q")  # opened, due, label_time of each
        self._scores = array("d")
        self._snapshots = array("q")
        self._values = array("f")

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, example: Example) -> None:
        if len(example.features) != len(self.features):
            have, want = len(example.features), len(self.features)
            raise ValueError(f"example {example.id} has {have} features; expected {want}")
        self._ids.append(example.id)
        self._customers.append(example.customer)
        self._models.append(example.model)
        self._labels.append(example.label)
        self._times.extend((example.opened, example.due, example.label_time))
        self._scores.append(example.score)
        self._snapshots.append(example.snapshot)
        self._values.extend(example.features)

    def figures(self, start_ms: float = -math.inf, end_ms: float = math.inf) -> dict[str, Figures]:
        """For each model, over the examples opened at `start_ms` or later and due by `end_ms`.

        Give the end of the stream as `end_ms`: of the examples due after it only those that were proved
        early are known, and they are all of one class. Examples that had no score are counted apart.
        """
        times, labels, scores, models = self._arrays()
        counts = (times[:, 0] >= start_ms) & (times[:, 1] <= end_ms)
        scored = ~np.isnan(scores)
        found = {}
        for model in sorted(set(self._models)):
            mine = counts & (models == model)
            y, p = labels[mine & scored], scores[mine & scored]
            found[model] = Figures(
                examples=len(y),
                positives=int(y.sum()),
                auc=_defined(auc(y, p)),
                log_loss=_defined(log_loss(y, p)),
                ece=_defined(ece(y, p)),
                unscored=int((mine & ~scored).sum()),
            )
        return found

    def write_parquet(self, path: str | Path) -> None:
        """All examples, in the order they came: the columns above, then each feature as float32."""
        import polars as pl  # only an evaluation needs it

        times, labels, scores, models = self._arrays()
        values = np.array(self._values, dtype=np.float32).reshape(len(self), len(self.features))
        columns: dict[str, object] = {
            "id": self._ids,
            "customer": self._customers,
            "model": models.tolist(),
            "label": labels,
            "decision_time": times[:, 0],
            "due": times[:, 1],
            "label_time": times[:, 2],
            "score": scores,
            "snapshot": np.array(self._snapshots, dtype=np.int64),
        }
        for place, name in enumerate(self.features):
            columns[f"feature.{name}" if name in _COLUMNS else name] = values[:, place]
        text = dict.fromkeys(("id", "customer", "model"), pl.String)
        frame = pl.DataFrame(columns, schema_overrides=text).with_columns(
            pl.col("decision_time", "due", "label_time").cast(pl.Datetime("ms", "UTC"))
        )
        frame.write_parquet(path)

    def _arrays(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
        """int64[n, 3]: opened, due, label_time; float64[n]: labels; float64[n]: scores; str[n]: models."""
        return (
            np.array(self._times, dtype=np.int64).reshape(-1, 3),
            np.array(self._labels, dtype=np.float64),
            np.array(self._scores, dtype=np.float64),
            np.array(self._models, dtype=np.str_),
        )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
