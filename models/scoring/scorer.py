"""Step 6, second half: kernels that score the feature vector with the snapshots in force.

A mixture adds the logits of its experts, each with a weight: score = logistic(a0 + a1 linear + a2 additive + a3 trees).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.config import EXPERTS, IN_BUCKET
from streams.kernels import kernel

from .features import transform
from .forest import Forest, boosted, seen

__all__ = [
    "EXPERTS", "additive", "cell", "contributions", "linear", "logistic", "logit", "score",
    "transform",
]  # fmt: skip

# A larger logit comes from an expert that has seen too little to be so certain.
LARGEST_LOGIT: Final = 12.0
LARGEST_FACTOR: Final = 3.5  # of a logit of amounts: 33 times the mean, or a 33rd of it

AMOUNTS: Final = 2  # a value of `Weights.mixed`
LARGEST_LOG: Final = 50.0  # the logarithm of an amount

CELLS: Final = 4096  # in the table of an additive expert; a power of two
_BINS: Final = 2.0  # in a unit of a feature; for a logarithm, in a factor of e
_LARGEST_BIN: Final = 400.0
_SPREAD: Final = 0x9E3779B1  # 2^32 over the golden ratio: Fibonacci hashing
_MIX: Final = 0x45D9F3B  # small enough that every product fits into 63 bits
_32_BITS: Final = 0xFFFFFFFF


class Weights(NamedTuple):
    """The snapshots in force, for m models and f features.

    weights: float64[m, f], bias: float64[m]: the linear expert;
    have: uint8[m]: 1 if the model has a snapshot; version: int64[m]: that of the snapshot;
    mixed: uint8[m]: 0 the linear expert alone, 1 the mixture, 2 the mixture of amounts;
    mixing: float64[m, 4]: a0 to a3;
    seeds: int64[m, f], table: float32[m, CELLS]: the additive expert (seed 0: it does not use the feature);
    forest: the boosted expert.
    """

    weights: Any
    bias: Any
    have: Any
    version: Any
    mixed: Any
    mixing: Any
    seeds: Any
    table: Any
    forest: Forest


def seeds(features: Sequence[str]) -> NDArray[np.int64]:
    """Return int64[f], the seed by which `cell` hashes each feature; it depends on the name alone.

    A bucket has seed 0, as the linear expert already learns all that a value of 0 or 1 can tell.

    >>> seeds(["spend_1w", "last_offer#3"]).tolist()
    [238429185, 0]
    """
    return np.array([0 if IN_BUCKET in name else crc32(name.encode()) | 1 for name in features], np.int64)


@kernel
def linear(
    x: NDArray[np.float64], model: int, weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> Any:
    """Return the logit of one row by one model's linear expert: bias + w . x.

    x: float64[F]; weights: float64[M, F]; bias: float64[M]. Eight interleaved sums, added in pairs, run in parallel;
    as the code fixes their order, the bits do not depend on the processor.

    >>> float(linear(np.array([1.0, 2.0]), 0, np.array([[0.5, 0.25]]), np.array([0.5])))
    1.5
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
    return bias[model] + ((((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))) + rest)


@kernel
def cell(x: float, seed: int) -> Any:
    """Return the cell of the table for a value of the feature with this seed; NaN counts as 0.

    Values of one bin share a cell, and bins are half a unit wide.

    >>> seed = seeds(["spend_1w"])[0]
    >>> bool(cell(1.0, seed) == cell(1.4, seed)), bool(cell(1.0, seed) == cell(1.6, seed))
    (True, False)
    """
    place = np.floor(min(max(np.float64(seen(x)) * _BINS, -_LARGEST_BIN), _LARGEST_BIN))
    mixed = (np.int64(place) * _SPREAD ^ seed) & _32_BITS
    for _ in range(2):
        mixed = ((mixed >> 16) ^ mixed) * _MIX & _32_BITS
    return ((mixed >> 16) ^ mixed) & (CELLS - 1)


@kernel
def additive(
    x: NDArray[np.float64], model: int, seeds: NDArray[np.int64], table: NDArray[np.float32]
) -> float:
    """Return the logit of the additive expert: the sum of the cells that the features fall into.

    >>> table = np.zeros((1, CELLS), np.float32)
    >>> table[0, cell(1.2, seeds(["spend_1w"])[0])] = 0.5
    >>> float(additive(np.array([1.2]), 0, seeds(["spend_1w"]).reshape(1, -1), table))
    0.5
    """
    total = 0.0
    for f in range(len(x)):
        if seeds[model, f] != 0:
            total += np.float64(table[model, cell(x[f], seeds[model, f])])
    return total


@kernel
def logit(x: NDArray[np.float64], model: int, of: Weights) -> Any:
    """Return the log-odds of one row by one model. x: float64[F]."""
    first = linear(x, model, of.weights, of.bias)
    if not of.mixed[model]:
        return first
    largest = LARGEST_FACTOR if of.mixed[model] == AMOUNTS else LARGEST_LOGIT
    first = cut(first, largest)
    second = cut(additive(x, model, of.seeds, of.table), largest)
    third = 0.5 * (first + second)  # until there are trees
    if of.forest.count[model] > 0:
        third = cut(boosted(x, model, of.forest), largest)
    return mixed(of.mixing[model], first, second, third, largest)


@kernel
def score(x: NDArray[np.float64], model: int, of: Weights) -> float:
    """Return the score of one row by one model: a probability, or an amount. x: float64[F].

    >>> from models.scoring import no_weights
    >>> score(np.zeros(2), 0, no_weights(1, 2))
    0.5
    """
    found = logit(x, model, of)
    return math.exp(min(found, LARGEST_LOG)) if of.mixed[model] == AMOUNTS else logistic(found)


@kernel
def contributions(
    x: NDArray[np.float64], typical: NDArray[np.float64], model: int, of: Weights, out: NDArray[np.float64]
) -> None:
    """Fill `out` with what each feature adds to the log-odds: how far they fall if it has its typical value instead.

    x, typical, out: float64[F]. Occlusion (Zeiler and Fergus 2014) is exact for features that add up independently;
    if two carry the same information, their shares sum to less than both together. `x` is unchanged afterwards.
    """
    whole = logit(x, model, of)
    for f in range(len(x)):
        value = x[f]
        x[f] = typical[f]
        out[f] = whole - logit(x, model, of)
        x[f] = value


@kernel
def cut(logit: float, largest: float) -> float:
    """Clip a logit to +-`largest`; NaN, from a row with a NaN feature, counts as 0.

    >>> cut(15.0, 12.0), cut(-15.0, 12.0), cut(np.nan, 12.0)
    (12.0, -12.0, 0.0)
    """
    if logit != logit:
        return 0.0
    return min(max(logit, -largest), largest)


@kernel
def mixed(a: NDArray[np.float64], first: float, second: float, third: float, largest: float) -> Any:
    """Return the logit of a mixture: the bias plus the clipped sum of the weighted logits. a: float64[4].

    >>> float(mixed(np.array([0.5, 1.0, 1.0, 0.0]), 1.0, 2.0, 9.0, 12.0))
    3.5
    """
    return a[0] + cut(a[1] * first + a[2] * second + a[3] * third, largest)


@kernel
def logistic(logit: float) -> float:
    """Return 1 / (1 + exp(-logit)) without overflow: exp only takes numbers that are not positive.

    >>> logistic(0.0), round(logistic(2.0), 4), logistic(-1000.0)
    (0.5, 0.8808, 0.0)
    """
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0.0 else small) / (1.0 + small)
