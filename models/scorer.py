"""Step 6, second half: the feature vector and the snapshots in force become scores. Kernels."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from models.transform import Plan, transform

__all__ = ["Plan", "logistic", "score", "transform"]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def score(
    x: NDArray[np.float64],
    weights: NDArray[np.float64],
    bias: NDArray[np.float64],
    have: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """Scores of one row by all models: 1 / (1 + exp(-(bias + w . x))), NaN where there is no snapshot.

    x: float64[F]; weights: float64[M, F]; bias, out: float64[M]; have: uint8[M].
    The product is summed in eight interleaved sums and these in pairs: independent additions run side by
    side, in an order written down here, so that the bits do not depend on the processor.
    """
    features = len(x)
    whole = features - features % 8
    for model in range(len(out)):
        if not have[model]:
            out[model] = math.nan
            continue
        w = weights[model]
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for i in range(0, whole, 8):
            s0 += w[i] * x[i]
            s1 += w[i + 1] * x[i + 1]
            s2 += w[i + 2] * x[i + 2]
            s3 += w[i + 3] * x[i + 3]
            s4 += w[i + 4] * x[i + 4]
            s5 += w[i + 5] * x[i + 5]
            s6 += w[i + 6] * x[i + 6]
            s7 += w[i + 7] * x[i + 7]
        rest = 0.0
        for i in range(whole, features):
            rest += w[i] * x[i]
        logit = bias[model] + ((((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))) + rest)
        out[model] = logistic(logit)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def logistic(logit: float) -> float:
    """1 / (1 + exp(-logit)) without overflow: exp only of what is not positive."""
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0.0 else small) / (1.0 + small)
