"""Prequential figures over the examples of one period of the stream, however many they are.

The AUC comes from counts of scores in 65,536 bins of equal width (ties share a bin). It is exact to about 1e-5 and
takes one megabyte a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.learning import Item

BINS = 1 << 16
_CLIP = 1e-7  # as in models.metrics.log_loss


class Scores:
    """Histograms of the scores of 0s and of 1s."""

    def __init__(self) -> None:
        self.counts = np.zeros((2, BINS), np.int64)
        self.loss = 0.0

    def add(self, label: float, score: float) -> None:
        """Count one score."""
        self.counts[int(label), min(BINS - 1, int(score * BINS))] += 1
        likely = min(1 - _CLIP, max(_CLIP, score))
        self.loss -= math.log(likely if label else 1 - likely)

    def figures(self) -> dict[str, Any]:
        """Return examples, positives, auc and log_loss (None: not defined)."""
        zeros, ones = self.counts
        total = int(self.counts.sum())
        positives, negatives = int(ones.sum()), int(zeros.sum())
        auc = None
        if positives and negatives:
            below = np.cumsum(zeros) - zeros / 2  # zeros that score lower, and half of those in the bin
            auc = float((ones * below).sum() / (positives * negatives))
        return {
            "examples": total,
            "positives": positives,
            "auc": auc,
            "log_loss": self.loss / total if total else None,
        }


@dataclass(frozen=True, slots=True)
class Period:
    """Examples opened at `start_ms` or later and due by `end_ms`; of those due later only some are known."""

    start_ms: float = -math.inf
    end_ms: float = math.inf

    @classmethod
    def between(cls, start_ms: float | None, end_ms: float | None) -> Period:
        """Return the period between two times; None: open on that side."""
        return cls(-math.inf if start_ms is None else start_ms, math.inf if end_ms is None else end_ms)

    def holds(self, example: Item) -> bool:
        """Return whether the example counts."""
        return example.opened >= self.start_ms and example.due <= self.end_ms


class PeriodFigures:
    """Figures of each model by its predictions right before learning; the AUC also by its scores at decisions."""

    def __init__(self, period: Period) -> None:
        self._period = period
        self._learned: dict[str, Scores] = {}
        self._decided: dict[str, Scores] = {}

    def add(self, model: str, example: Item, score: float) -> None:
        """Count an example and the score that the model gave it before learning it."""
        if self._period.holds(example):
            self._learned.setdefault(model, Scores()).add(int(example.label), score)
            if not math.isnan(example.decided):
                self._decided.setdefault(model, Scores()).add(int(example.label), example.decided)

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return for each model examples, positives, auc, log_loss and `auc_at_decision`."""
        return {
            model: {**scores.figures(), "auc_at_decision": self._at_decision(model)}
            for model, scores in list(self._learned.items())
        }

    def _at_decision(self, model: str) -> float | None:
        scores = self._decided.get(model)
        return scores.figures()["auc"] if scores else None
