"""How well the models predicted on a stream, by the scores they gave at the time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.example import Example
from models.metrics import auc, ece, ece_by_chance, log_loss, mae, rmse, spearman

from .nightly_baseline import nightly_scores

# Columns of the Parquet file besides the features; a feature of the same name gets a prefix.
_COLUMNS = ("id", "customer", "model", "label", "decision_time", "due", "label_time", "score", "snapshot")


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one model over the examples that count; None: not defined (no examples, or of one class)."""

    examples: int
    positives: int
    auc: float | None
    log_loss: float | None
    ece: float | None
    ece_by_chance: float | None  # about what `ece` would be if the scores were the true chances
    unscored: int

    @classmethod
    def of(cls, labels: NDArray[np.float64], scores: NDArray[np.float64], unscored: int) -> Figures:
        """Compute the figures. labels: 0 or 1, float64[n]; scores: probabilities, float64[n]."""
        return cls(
            examples=len(labels),
            positives=int(labels.sum()),
            auc=_defined(auc(labels, scores)),
            log_loss=_defined(log_loss(labels, scores)),
            ece=_defined(ece(labels, scores)),
            ece_by_chance=_defined(ece_by_chance(scores)),
            unscored=unscored,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AmountFigures:
    """Figures of one model of amounts over the examples that count; None: not defined (no examples, or all equal)."""

    examples: int
    mean: float | None
    mae: float | None
    rmse: float | None
    spearman: float | None
    unscored: int

    @classmethod
    def of(cls, labels: NDArray[np.float64], scores: NDArray[np.float64], unscored: int) -> AmountFigures:
        """Compute the figures. labels: amounts, float64[n]; scores: the expected amounts, float64[n]."""
        return cls(
            examples=len(labels),
            mean=float(labels.mean()) if len(labels) else None,
            mae=_defined(mae(labels, scores)),
            rmse=_defined(rmse(labels, scores)),
            spearman=_defined(spearman(labels, scores)),
            unscored=unscored,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Opened(NamedTuple):
    """Examples: the customer of each, when it was opened (ms since the epoch), and the labels (float64[n])."""

    customers: list[str]
    opened: list[int]
    labels: NDArray[np.float64]


class Evaluation:
    """Collects matured examples. Each takes about 4 bytes a feature, and 300 for the rest.

    `amounts`: the models whose labels are amounts.
    """

    def __init__(self, features: Sequence[str], amounts: Collection[str] = ()) -> None:
        self.features = tuple(features)
        self.amounts = frozenset(amounts)
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

    def figures(
        self,
        start_ms: float = -math.inf,
        end_ms: float = math.inf,
        *,
        other: NDArray[np.float64] | None = None,
    ) -> dict[str, Figures | AmountFigures]:
        """Return the figures of each model over the examples opened at `start_ms` or later and due by `end_ms`.

        Give the end of the stream as `end_ms`: of the examples due later only those with an early proof are known, and
        they are all of one class. Examples without a score are counted separately, as `unscored`. `other`: scores
        (float64[n]) to judge over the same examples in place of the models' own.
        """
        times, labels, scores, models = self._arrays()
        counts = (times[:, 0] >= start_ms) & (times[:, 1] <= end_ms)
        scored = ~np.isnan(scores)
        scores = scores if other is None else other
        found = {}
        for model in sorted(set(self._models)):
            mine = counts & (models == model)
            unscored = int((mine & ~scored).sum())
            found[model] = self._kind(model).of(labels[mine & scored], scores[mine & scored], unscored)
        return found

    def nothing(self, model: str) -> Figures | AmountFigures:
        """Return the figures of a model without examples."""
        return self._kind(model).of(np.zeros(0), np.zeros(0), 0)

    def _kind(self, model: str) -> type[Figures] | type[AmountFigures]:
        return AmountFigures if model in self.amounts else Figures

    def nightly(
        self, start_ms: float, models: Sequence[str], on_day: Callable[[], None] = lambda: None
    ) -> NDArray[np.float64]:
        """Return the scores of nightly refits for the examples of `models` opened at `start_ms` or later, else NaN."""
        times, labels, _, names = self._arrays()
        scores = np.full(len(self), np.nan)
        for model in models:
            mine = names == model
            x = self._features()[mine]
            opened, due = times[mine, 0], times[mine, 1]
            scores[mine] = nightly_scores(
                x, labels[mine], opened, due, start_ms, on_day, amounts=model in self.amounts
            )
        return scores

    def of(self, model: str, start_ms: float, end_ms: float) -> Opened:
        """Return the examples of a model opened at `start_ms` or later and due by `end_ms`."""
        times, labels, _, models = self._arrays()
        places = np.flatnonzero((models == model) & (times[:, 0] >= start_ms) & (times[:, 1] <= end_ms))
        return Opened([self._customers[at] for at in places], times[places, 0].tolist(), labels[places])

    def examples(self, model: str) -> Iterator[Example]:
        """Yield all examples of a model in the order in which they came."""
        wide = len(self.features)
        for at in (at for at, name in enumerate(self._models) if name == model):
            opened, due, label_time = self._times[3 * at : 3 * at + 3]
            features = tuple(self._values[wide * at : wide * (at + 1)])
            yield Example(
                self._ids[at], self._customers[at], model, self._labels[at], opened, due, label_time,
                self._scores[at], self._snapshots[at], features,
            )  # fmt: skip

    def write_parquet(self, path: str | Path) -> None:
        """Write all examples in the order in which they came: `_COLUMNS`, then each feature as float32."""
        import polars as pl  # only an evaluation needs it

        times, labels, scores, models = self._arrays()
        values = self._features()
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

    def _features(self) -> NDArray[np.float32]:
        return np.array(self._values, dtype=np.float32).reshape(len(self), len(self.features))

    def _arrays(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
        """Return int64[n, 3]: opened, due, label_time; float64[n]: labels; float64[n]: scores; str[n]: models."""
        return (
            np.array(self._times, dtype=np.int64).reshape(-1, 3),
            np.array(self._labels, dtype=np.float64),
            np.array(self._scores, dtype=np.float64),
            np.array(self._models, dtype=np.str_),
        )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
