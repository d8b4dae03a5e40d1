"""The trees of a gradient-boosted expert, laid out for scoring without walks: QuickScorer (Lucchese et al. 2015).

Each tree has a bit for each of its leaves, from left to right. For each feature, the thresholds of all trees are sorted
in ascending order. Those below the value of a row come first; each of them removes the leaves on its left from its
tree. The first leaf that remains is the one a walk down the tree would reach. A walk waits for each node to load
before it knows the next one, and the processor mispredicts most branches; this layout has neither delay.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

LEAF: Final = -1  # marks a leaf, in place of a feature
ABSENT: Final = -2  # a feature that the row does not have: it counts as 0
LEAVES: Final = 16  # of a tree at most: one bit each in a mask

_ALL: Final = (1 << LEAVES) - 1
# Shifted by 0 to 15, its upper four bits differ each time: they give the place of a leaf by its bit.
_DE_BRUIJN: Final = 0x09AF
_PLACE_SHIFT: Final = 12
_LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)


class Forest(NamedTuple):
    """The trees in force, for m models of f features.

    count: int64[m], the number of trees; start: int64[m, f + 1]: splits start[i] to start[i + 1] are by feature i;
    threshold: float32[m, n], ascending in each feature (x <= threshold goes left); tree: uint8[m, n], the tree of
    each split; keep: uint16[m, n], the leaves that are not on its left;
    begin: uint16[m, t], the leaves of a tree before any split; value: float64[m, t, LEAVES], the values of leaves;
    left: uint16[t], scratch, so only one thread may score a forest at a time.
    """

    count: Any
    start: Any
    threshold: Any
    tree: Any
    keep: Any
    begin: Any
    value: Any
    left: Any


def no_forest(models: int, features: int, trees: int) -> Forest:
    """Allocate room for so many trees of each model, without any tree."""
    splits = trees * (LEAVES - 1)
    return Forest(
        count=np.zeros(models, np.int64),
        start=np.zeros((models, features + 1), np.int64),
        threshold=np.zeros((models, splits), np.float32),
        tree=np.zeros((models, splits), np.uint8),
        keep=np.zeros((models, splits), np.uint16),
        begin=np.zeros((models, trees), np.uint16),
        value=np.zeros((models, trees, LEAVES)),
        left=np.zeros(trees, np.uint16),
    )


@kernel
def seen(x: float) -> Any:
    """Round a feature to float32, as examples store it, so that it takes the same side as there; NaN counts as 0."""
    if x != x:
        return np.float32(0.0)
    return np.float32(min(max(x, -_LARGEST_FLOAT), _LARGEST_FLOAT))


@kernel
def boosted(x: NDArray[np.float64], model: int, of: Forest) -> float:
    """Return the logit of the trees: the sum of the leaves that the row reaches. x: float64[F]."""
    trees, left = of.count[model], of.left
    for t in range(trees):
        left[t] = of.begin[model, t]
    for f in range(of.start.shape[1] - 1):
        value = seen(x[f])
        for i in range(of.start[model, f], of.start[model, f + 1]):
            if value <= of.threshold[model, i]:
                break
            left[of.tree[model, i]] &= of.keep[model, i]
    total = 0.0
    for t in range(trees):
        leaves = np.int64(left[t])
        total += of.value[model, t, ((leaves & -leaves) * _DE_BRUIJN & _ALL) >> _PLACE_SHIFT]
    return total


def leaves_below(feature: NDArray[np.int16], right: NDArray[np.int32]) -> NDArray[np.int64]:
    """Count the leaves below each node, up to LEAVES + 1; children come after their parents."""
    found = np.empty(len(feature), np.int64)
    _count_leaves(feature, right, found)
    return found


def lay_out(
    of: Forest,
    model: int,
    roots: NDArray[np.int32],
    feature: NDArray[np.int16],
    number: NDArray[np.float64],
    right: NDArray[np.int32],
) -> None:
    """Put checked trees in force as those of model number `model`; nodes as in `models.scoring.trees.Trees`."""
    count, nodes = len(roots), len(feature)
    tree, keep, first = np.full(nodes, -1, np.int16), np.zeros(nodes, np.uint16), np.zeros(nodes, np.int64)
    of.value[model, :count] = 0.0
    of.count[model] = count
    below = leaves_below(feature, right)
    _laid_out(roots, feature, number, right, below, first, tree, keep, of.begin[model], of.value[model])
    splits = np.flatnonzero((feature >= 0) & (tree >= 0))
    splits = splits[np.lexsort((number[splits], feature[splits]))]
    of.start[model] = np.searchsorted(feature[splits], np.arange(of.start.shape[1]))
    for into, values in ((of.threshold, _rounded(number)), (of.tree, tree), (of.keep, keep)):
        into[model, : len(splits)] = values[splits]


def _rounded(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each threshold: a feature, also a float32, goes the same way."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


@kernel
def _count_leaves(feature: NDArray[np.int16], right: NDArray[np.int32], found: NDArray[np.int64]) -> None:
    for node in range(len(feature) - 1, -1, -1):
        if feature[node] == LEAF:
            found[node] = 1
        else:
            found[node] = min(found[node + 1] + found[right[node]], LEAVES + 1)


@kernel
def _laid_out(
    roots: NDArray[np.int32],
    feature: NDArray[np.int16],
    number: NDArray[np.float64],
    right: NDArray[np.int32],
    below: NDArray[np.int64],
    first: NDArray[np.int64],
    tree: NDArray[np.int16],
    keep: NDArray[np.uint16],
    begin: NDArray[np.uint16],
    value: NDArray[np.float64],
) -> None:
    """Fill first[n], tree[n] and keep[n] of each node, and begin[t] and value[t, LEAVES] of each tree.

    first: the leftmost leaf of the node; tree: its tree (-1 at first); keep: the leaves that it keeps.
    """
    for t in range(len(roots)):
        tree[roots[t]] = t
        begin[t] = (1 << below[roots[t]]) - 1
    for node in range(len(feature)):
        t, at = tree[node], first[node]
        if t < 0:
            continue
        if feature[node] == LEAF:
            value[t, ((1 << at) * _DE_BRUIJN & _ALL) >> _PLACE_SHIFT] = number[node]
            continue
        on_left = below[node + 1]
        keep[node] = _ALL ^ (((1 << on_left) - 1) << at)
        if feature[node] == ABSENT and number[node] < 0.0:
            begin[t] &= keep[node]
        tree[node + 1] = tree[right[node]] = t
        first[node + 1], first[right[node]] = at, at + on_left
