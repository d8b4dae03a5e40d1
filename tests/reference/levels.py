"""The chance that a random effect leaves, by quadrature: the slow twin of `models.learning.cohorts.Cohorts.shrinks`."""

from __future__ import annotations

import numpy as np


def mean_chance(logit: float, deviation: float) -> float:
    """The mean of logistic(logit + level) over levels that are normal with this deviation."""
    levels, weights = np.polynomial.hermite_e.hermegauss(101)
    return float((weights / (1.0 + np.exp(-logit - deviation * levels))).sum() / weights.sum())
