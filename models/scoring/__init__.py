"""Scoring and explaining with snapshots as arrays: all that a worker needs of models (step 6).

Promises: a score is the same, bit for bit, wherever it is computed.
"""

from .explain import Explainer
from .features import FeaturePlan
from .forest import LEAF
from .scorer import (
    CELLS,
    EXPERTS,
    LARGEST_FACTOR,
    LARGEST_LOGIT,
    Weights,
    additive,
    cell,
    cut,
    linear,
    logistic,
    mixed,
    score,
    seeds,
    transform,
)
from .snapshot import AMOUNT, LARGEST_VERSION, LINEAR, MIXTURE, Snapshot, no_weights
from .trees import TREES, Trees

__all__ = [
    "AMOUNT",
    "CELLS",
    "EXPERTS",
    "LARGEST_FACTOR",
    "LARGEST_LOGIT",
    "LARGEST_VERSION",
    "LEAF",
    "LINEAR",
    "MIXTURE",
    "TREES",
    "Explainer",
    "FeaturePlan",
    "Snapshot",
    "Trees",
    "Weights",
    "additive",
    "cell",
    "cut",
    "linear",
    "logistic",
    "mixed",
    "no_weights",
    "score",
    "seeds",
    "transform",
]
