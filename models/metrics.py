"""How good scores are: exact figures over arrays, and over a window of the latest for live display.

Labels: 0 or 1, float64[n] or ints; scores: probabilities of 1, float64[n]. For `mae`, `rmse` and `spearman` both are
amounts. A figure is NaN if it is not defined (no examples; for the AUC one class only; for ranks equal values only).
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A wrong score of exactly 0 or 1 costs 16.1 instead of infinity.
_CLIP: Final = 1e-7

ECE_BINS: Final = 15  # Guo et al. 2017, On Calibration of Modern Neural Networks


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the chance that a random 1 scores above a random 0; ties count half.

    AUC = (sum of the ranks of the ones - P (P + 1) / 2) / (P N), ranks from 1, tied scores sharing their mean
    rank; P ones, N zeros (Mann-Whitney U; Hanley and McNeil 1982).

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    y, p = _arrays(labels, scores)
    ones = float(y.sum())
    zeros = len(y) - ones
    if not ones or not zeros:
        return math.nan
    return float((_mean_ranks(p)[y == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean of -log(p) for ones and -log(1 - p) for zeros, p clipped to [1e-7, 1 - 1e-7].

    >>> round(log_loss([1, 0], [0.9, 0.2]), 4)
    0.1643
    """
    y, p = _arrays(labels, scores)
    if not len(y):
        return math.nan
    p = np.clip(p, _CLIP, 1 - _CLIP)
    return float(-np.mean(np.where(y == 1, np.log(p), np.log1p(-p))))


def brier(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean of (p - y)^2 (Brier 1950).

    >>> round(brier([1, 0], [0.9, 0.2]), 4)
    0.025
    """
    y, p = _arrays(labels, scores)
    return float(np.mean((p - y) ** 2)) if len(y) else math.nan


def ece(
    labels: ArrayLike, scores: ArrayLike, bins: int = ECE_BINS, equal: Literal["mass", "width"] = "mass"
) -> float:
    """Return the expected calibration error: sum over bins of (n_b / n) |mean label - mean score|.

    Bins of equal mass are the default: in the order of scores, as even as possible; a stable sort breaks ties. They
    show an error among rare positives, which bins of equal width hide in the first bin.

    >>> round(ece([0, 0, 1, 1], [0.1, 0.1, 0.7, 0.7], bins=2), 4)
    0.2
    """
    y, p = _arrays(labels, scores)
    if not len(y):
        return math.nan
    if equal == "mass":
        parts = _equal_mass(p, bins)
    else:
        bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
        parts = [np.flatnonzero(bin_of == b) for b in range(bins)]
    gaps = (abs(float(y[part].mean() - p[part].mean())) * len(part) for part in parts if len(part))
    return math.fsum(gaps) / len(y)


def ece_by_chance(scores: ArrayLike, bins: int = ECE_BINS) -> float:
    """Return about what `ece` would be if these scores were the true chances: few labels scatter around them.

    It is the sum over bins of (n_b / n) sqrt(2 / pi) s_b, the mean of |N(0, s_b)|; s_b is the standard deviation of
    the mean label, s_b^2 = sum of p (1 - p) / n_b^2.

    >>> round(ece_by_chance([0.5] * 100), 3), round(ece_by_chance([0.5] * 10_000), 3)
    (0.154, 0.015)
    """
    p = np.asarray(scores, dtype=np.float64)
    if not len(p):
        return math.nan
    parts = _equal_mass(p, bins)
    spread = math.fsum(math.sqrt(float((p[part] * (1.0 - p[part])).sum())) for part in parts)
    return math.sqrt(2.0 / math.pi) * spread / len(p)


def mae(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean of |p - y|.

    >>> mae([10, 0, 30], [12, 1, 30])
    1.0
    """
    y, p = _arrays(labels, scores)
    return float(np.mean(np.abs(p - y))) if len(y) else math.nan


def rmse(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the root of the mean of (p - y)^2.

    >>> rmse([10, 0], [11, 7])
    5.0
    """
    y, p = _arrays(labels, scores)
    return float(np.sqrt(np.mean((p - y) ** 2))) if len(y) else math.nan


def spearman(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the correlation of the ranks; tied values share their mean rank (Spearman 1904).

    >>> spearman([10, 0, 30], [12, 1, 99]), spearman([10, 0, 30], [12, 99, 1])
    (1.0, -1.0)
    """
    y, p = _arrays(labels, scores)
    if not len(y) or np.ptp(y) == 0 or np.ptp(p) == 0:
        return math.nan
    a, b = _mean_ranks(y) - (len(y) + 1) / 2, _mean_ranks(p) - (len(p) + 1) / 2
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def _equal_mass(scores: NDArray[np.float64], bins: int) -> list[NDArray[np.int64]]:
    return np.array_split(np.argsort(scores, kind="stable"), bins)


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[n], the ranks from 1; tied values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank: NDArray[np.float64] = np.cumsum(count) - (count - 1) / 2
    return mean_rank[place]


def _arrays(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise ValueError(f"expected two flat arrays of one length, got {y.shape} and {p.shape}")
    return y, p


def figures(labels: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """Return auc, log_loss, brier and ece; a figure that is not defined is left out.

    >>> {name: round(value, 3) for name, value in figures([0, 1], [0.2, 0.9]).items()}
    {'auc': 1.0, 'log_loss': 0.164, 'brier': 0.025, 'ece': 0.15}
    """
    found = {
        "auc": auc(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier(labels, scores),
        "ece": ece(labels, scores),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def amount_figures(labels: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """Return mae, rmse and spearman of predicted amounts; a figure that is not defined is left out.

    >>> amount_figures([10, 0], [11, 7])
    {'mae': 4.0, 'rmse': 5.0, 'spearman': 1.0}
    """
    found = {"mae": mae(labels, scores), "rmse": rmse(labels, scores), "spearman": spearman(labels, scores)}
    return {name: value for name, value in found.items() if not math.isnan(value)}


class Window:
    """The latest `size` predictions and their labels; figures over them are exact.

    Both are float32 (8 bytes an example), so that a state is small and restores unchanged.
    """

    def __init__(self, size: int = 4096) -> None:
        self.count = 0
        self._scores = np.zeros(size, dtype=np.float32)
        self._labels = np.zeros(size, dtype=np.float32)

    def add(self, label: float, score: float) -> None:
        place = self.count % len(self._scores)
        self._scores[place] = score
        self._labels[place] = label
        self.count += 1

    def kept(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return labels and scores, in no order."""
        count = min(self.count, len(self._scores))
        return self._labels[:count], self._scores[:count]

    def state(self) -> dict[str, int | bytes]:
        kept = min(self.count, len(self._scores))
        return {
            "count": self.count,
            "size": len(self._scores),
            "scores": self._scores[:kept].astype("<f4").tobytes(),
            "labels": self._labels[:kept].astype("<f4").tobytes(),
        }

    @classmethod
    def restore(cls, count: int, size: int, scores: bytes, labels: bytes) -> Window:
        """Restore from the values of `state`; raise ValueError if they do not fit together."""
        window = cls(size)
        kept = min(count, size)
        window._scores[:kept] = np.frombuffer(scores, dtype="<f4", count=-1)
        window._labels[:kept] = np.frombuffer(labels, dtype="<f4", count=-1)
        window.count = count
        return window
