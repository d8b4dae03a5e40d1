"""Boosted trees as the arrays that a snapshot holds."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.array_bytes import to_bytes
from models.scoring.forest import ABSENT, LEAF, LEAVES, Forest, boosted, lay_out, leaves_below, no_forest

TREES: Final = 80  # of a model at most

NODES: Final = TREES * (2 * LEAVES - 1)

_LARGEST: Final = 1e6  # of a leaf

_HEAD: Final = struct.Struct("<II")


@dataclass(frozen=True, eq=False)
class Trees:
    """The trees of one model. roots: int32[t]; feature: int16[n], number: float64[n], right: int32[n]: the nodes.

    The left child comes right after its parent; `right` is the place of the other. `number` is the threshold
    (x <= threshold goes left), or the value of a leaf (feature LEAF).
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    number: NDArray[np.float64]
    right: NDArray[np.int32]

    @classmethod
    def none(cls) -> Trees:
        """Return no trees, as before the first fit."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int16), np.empty(0), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.roots)

    def logit(self, x: NDArray[np.float64]) -> float:
        """Return the sum of the leaves that the row reaches, 0 without trees. x: float64[F]."""
        return float(boosted(x, 0, self._forest))

    def put(self, forest: Forest, model: int) -> None:
        """Put them in force as those of model number `model`."""
        lay_out(forest, model, self.roots, self.feature, self.number, self.right)

    @cached_property
    def _forest(self) -> Forest:
        forest = no_forest(1, 1 + int(self.feature.max(initial=-1)), len(self))
        self.put(forest, 0)
        return forest

    def check(self, features: int) -> None:
        """Raise ValueError if a kernel that reads these could leave the arrays, never end, or return NaN."""
        nodes = len(self.feature)
        if len(self.roots) > TREES or nodes > NODES or not nodes == len(self.number) == len(self.right):
            raise ValueError(f"{len(self.roots)} trees of {nodes} nodes; expected {TREES} of {NODES} at most")
        split = self.feature != LEAF
        places = np.arange(nodes)
        # a child comes after its parent, so every walk ends; the last node is a leaf, so it ends within the arrays
        sound = (
            ((self.roots >= 0) & (self.roots < nodes)).all()
            and ((self.feature >= ABSENT) & (self.feature < features)).all()
            and ((self.right > places) & (self.right < nodes))[split].all()
            and not (nodes and split[-1])
        )
        if not sound:
            raise ValueError("a node names a feature or a child that is not there")
        if (leaves_below(self.feature, self.right)[self.roots] > LEAVES).any():
            raise ValueError(f"a tree has more than {LEAVES} leaves")
        if np.isnan(self.number).any() or not (np.abs(self.number[~split]) <= _LARGEST).all():
            raise ValueError("a threshold or a leaf is too large or not a number")

    def packed(self) -> bytes:
        """Return bytes: the numbers of trees and of nodes (uint32 each), then the arrays."""
        if not len(self):
            return b""
        arrays = [to_bytes(self.roots), to_bytes(self.feature), to_bytes(self.number), to_bytes(self.right)]
        return _HEAD.pack(len(self.roots), len(self.feature)) + b"".join(arrays)

    @classmethod
    def unpacked(cls, data: bytes, features: int) -> Trees:
        """Read what `packed` returned; raise ValueError if a model of so many features cannot be scored with it."""
        if not data:
            return cls.none()
        if len(data) < _HEAD.size:
            raise ValueError("trees without a head")
        count, nodes = _HEAD.unpack_from(data)
        sizes = [(count, "<i4"), (nodes, "<i2"), (nodes, "<f8"), (nodes, "<i4")]
        if len(data) != _HEAD.size + sum(size * np.dtype(kind).itemsize for size, kind in sizes):
            raise ValueError(f"{len(data)} bytes are not {count} trees of {nodes} nodes")
        arrays, at = [], _HEAD.size
        for size, kind in sizes:
            array = np.frombuffer(data, kind, size, at)
            arrays.append(array.astype(array.dtype.newbyteorder("=")))
            at += array.nbytes
        trees = cls(*arrays)
        trees.check(features)
        return trees

    def renumbered(self, places: NDArray[np.int16]) -> Trees:
        """Return the trees with feature i moved to `places[i]`."""
        feature = np.where(self.feature < 0, self.feature, places[self.feature]).astype(np.int16)
        return Trees(self.roots, feature, self.number, self.right)
