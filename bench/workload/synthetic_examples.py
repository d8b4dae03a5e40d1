"""Draws synthetic training examples from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def drawn(features: int, count: int, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features and labels: float32[count, features], like logarithms of counts and sums, and int64[count]."""
    draw = np.random.default_rng(seed)
    x = np.log1p(draw.lognormal(1.0, 2.0, (count, features)) * (draw.random((count, features)) > 0.3))
    logit = x[:, 0] - x[:, 1] + np.sin(2 * x[:, 2]) + 0.5 * x[:, 3] * (x[:, 4] > 1) - 0.5
    return x.astype(np.float32), (draw.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int64)
