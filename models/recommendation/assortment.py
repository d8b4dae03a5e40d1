"""The assortment: a snapshot of the recommender as arrays, which scores customers, and the rules over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.array_bytes import from_bytes, to_bytes
from models.scoring import LARGEST_VERSION
from streams.errors import Poison

from .item_table import LARGEST_KEY
from .scorer import recommend, recommend_each

_ARRAYS: Final[dict[str, type]] = {
    "keys": np.int64,
    "categories": np.int64,
    "repeats": np.float32,
    "popularity": np.float32,
    "neighbours": np.int32,
    "follows": np.float32,
}
_NONE: Final = np.zeros(0, np.int64)


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    half_life_ms: float
    items: int
    neighbours: int
    arrays: dict[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Assortment:
    """n items in ascending order of their keys, with K neighbours each.

    keys, categories (0 = none): int64[n]; repeats, popularity: float32[n], chances; neighbours: int32[n, K],
    places of items, -1 = none; follows: float32[n, K], their chances, the largest first. `half_life_ms` is that
    of the customers' lists.
    """

    version: int
    keys: NDArray[np.int64]
    categories: NDArray[np.int64]
    repeats: NDArray[np.float32]
    popularity: NDArray[np.float32]
    neighbours: NDArray[np.int32]
    follows: NDArray[np.float32]
    half_life_ms: float

    def verify(self) -> None:
        """Raise Poison with the reason why it must not be used for scoring."""
        reason = self._flaw()
        if reason:
            raise Poison(f"assortment {self.version} refused: {reason}")

    def _flaw(self) -> str:
        if not 0 < self.version <= LARGEST_VERSION:
            return f"expected a version from 1 to {LARGEST_VERSION}, got {self.version}"
        if not 0.0 < self.half_life_ms < np.inf:
            return f"its half-life is {self.half_life_ms} ms"
        n, wide = len(self.keys), self.neighbours.shape
        for name, kind in _ARRAYS.items():
            shape = (n, wide[-1] if wide else 0) if name in ("neighbours", "follows") else (n,)
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape or not array.flags.c_contiguous:
                return f"{name} is {array.dtype}{list(array.shape)}, not {np.dtype(kind)}{list(shape)}"
        if n and (self.keys[0] <= 0 or self.keys[-1] > LARGEST_KEY or (np.diff(self.keys) <= 0).any()):
            return "its keys do not ascend from 1 to 2^52"
        if ((self.neighbours < -1) | (self.neighbours >= n)).any():
            return "a neighbour is not one of its items"
        for name in ("repeats", "popularity", "follows"):
            array = getattr(self, name)
            if not ((array >= 0.0) & (array <= 1.0)).all():  # false for NaN
                return f"{name} has a number outside 0 to 1"
        return ""

    def to_bytes(self) -> bytes:
        """Return MessagePack, of 24 bytes an item and 8 a neighbour."""
        n, wide = self.neighbours.shape
        arrays = {name: to_bytes(getattr(self, name)) for name in _ARRAYS}
        return msgspec.msgpack.encode(_Wire(self.version, self.half_life_ms, n, wide, arrays))

    @classmethod
    def from_bytes(cls, data: bytes) -> Assortment:
        """Read what `to_bytes` returned, and verify it; raise Poison if it is not an assortment."""
        try:
            wire = msgspec.msgpack.decode(data, type=_Wire)
            if not (0 <= wire.items <= len(data) and 0 <= wire.neighbours <= len(data)):
                raise ValueError(f"{wire.items} items of {wire.neighbours} in {len(data)} bytes")
            if 8 * wire.items * wire.neighbours > len(data) or set(wire.arrays) != set(_ARRAYS):
                raise ValueError("its arrays are not those of an assortment")
            found: dict[str, Any] = {}
            for name, kind in _ARRAYS.items():
                wide = name in ("neighbours", "follows")
                found[name] = np.zeros((wire.items, wire.neighbours) if wide else wire.items, kind)
                from_bytes(found[name], wire.arrays[name], name)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Poison(f"not an assortment: {error}") from error
        assortment = cls(version=wire.version, half_life_ms=wire.half_life_ms, **found)
        assortment.verify()
        return assortment

    def by_popularity(self) -> NDArray[np.int32]:
        """Return int32[n], the places by popularity, the largest first; ties go by the smaller key."""
        return np.argsort(-self.popularity, kind="stable").astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class RecommendationRules:
    """The items of one assortment that may be recommended, worked out once for all customers.

    allowed: uint8[n]; once: uint8[n], the items that a customer buys only once.
    """

    allowed: NDArray[np.uint8]
    once: NDArray[np.uint8]

    @classmethod
    def of(
        cls,
        assortment: Assortment,
        *,
        stock: Iterable[int] | None = None,
        only: Iterable[int] | None = None,
        never: Iterable[int] = (),
        once: Iterable[int] = (),
    ) -> RecommendationRules:
        """Make the rules. `stock`: keys of the items in stock (None: all); the others are hashes of categories."""
        allowed = ~_in(assortment.categories, never)
        if stock is not None:
            allowed &= _in(assortment.keys, stock)
        if only is not None:
            allowed &= _in(assortment.categories, only)
        return cls(allowed.astype(np.uint8), _in(assortment.categories, once).astype(np.uint8))


def _in(values: NDArray[np.int64], wanted: Iterable[int]) -> NDArray[np.bool_]:
    return np.isin(values, np.array(list(wanted), np.int64))


class Recommendations:
    """Scores customers with one assortment. Two threads must not use it at once: they would share its scratch."""

    def __init__(self, assortment: Assortment, rules: RecommendationRules | None = None) -> None:
        assortment.verify()
        rules = rules or RecommendationRules.of(assortment)
        n = len(assortment.keys)
        if rules.allowed.shape != (n,) or rules.once.shape != (n,):
            raise Poison(f"rules for {len(rules.allowed)} items, not for {n}")
        self.assortment = assortment
        self._arrays = (
            assortment.keys,
            assortment.repeats,
            assortment.popularity,
            assortment.by_popularity(),
            assortment.neighbours,
            assortment.follows,
            rules.allowed,
            rules.once,
        )
        self._scratch = np.zeros(n), np.zeros(n), np.zeros(n, np.uint8), np.zeros(n, np.int32)

    def recommend(
        self,
        recent: NDArray[np.float64],
        now_ms: float,
        k: int = 10,
        owned: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return keys and scores of the best items, k at most, the best first.

        `owned`: keys of items that the customer has; the list `recent` may have forgotten them.
        """
        keys, scores = np.zeros(k, np.int64), np.zeros(k)
        more = _NONE if owned is None else owned
        half_life_ms = self.assortment.half_life_ms
        arguments = (recent, more, now_ms, half_life_ms, *self._arrays, *self._scratch, keys, scores)
        size = recommend(*arguments)
        return keys[:size], scores[:size]

    def changed(
        self, recents: NDArray[np.float64], slots: NDArray[np.int64], now_ms: float, k: int = 10
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Score the customers who changed in one call; return int64[c, k] keys, 0 = none, and float64[c, k] scores.

        recents: float64[m, w], the lists of all customers; slots: int64[c], the rows to score.
        """
        keys, scores = np.zeros((len(slots), k), np.int64), np.zeros((len(slots), k))
        half_life_ms = self.assortment.half_life_ms
        arguments = (recents, slots, _NONE, now_ms, half_life_ms, *self._arrays, *self._scratch, keys, scores)
        recommend_each(*arguments)
        return keys, scores
