"""Step 6, second half: the feature vector and the snapshots in force become scores. Kernels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.kernel import kernel
from models.transform import Plan, transform

__all__ = ["Plan", "logistic", "score", "transform"]


@kernel
def score(
    x: NDArray[np.float64], model: int, weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> float:
    """Score of one row by one model: 1 / (1 + exp(-(bias + w . x))).

    x: float64[F]; weights: float64[M, F]; bias: float64[M].
    The product is summed in eight interleaved sums and these in pairs: independent additions run side by
    side, in an order written down here, so that the bits do not depend on the processor.
    """
    features = len(x)
    whole = features - features % 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for i in range(0, whole, 8):
        s0 += weights[model, i] * x[i]
        s1 += weights[model, i + 1] * x[i + 1]
        s2 += weights[model, i + 2] * x[i + 2]
        s3 += weights[model, i + 3] * x[i + 3]
        s4 += weights[model, i + 4] * x[i + 4]
        s5 += weights[model, i + 5] * x[i + 5]
        s6 += weights[model, i + 6] * x[i + 6]
        s7 += weights[model, i + 7] * x[i + 7]
    rest = 0.0
    for i in range(whole, features):
        rest += weights[model, i] * x[i]
    return logistic(bias[model] + ((((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))) + rest))


@kernel
def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit)) without overflow: exp only of what is not positive."""
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0.0 else small) / (1.0 + small)
