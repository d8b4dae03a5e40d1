"""The state of recommendations: the customers' lists, the recommender, and whom to score again.

An assortment scores the customers. It is renewed after a sixteenth more baskets, `MOST_BASKETS` at most, or a day of
event time; customers who changed before that are scored with the old one. So recommendations depend only on the
baskets and their order, not on how often they are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from streams.kernels import hash_text

from .assortment import Assortment, RecommendationRules, Recommendations
from .config import RecommendSpec
from .item_table import shrink
from .recent_items import CLOCK, HALF_LIFE_MS, nothing
from .recommender import DAY_MS, Recommender
from .shopper import CustomerItems

MOST_BASKETS: Final = 1000  # between two assortments; making one takes a twentieth of a second
SIXTEENTH: Final = 16
FORGOTTEN_MS: Final = 10 * HALF_LIFE_MS  # then a thousandth of a list is left
NAME_BYTES: Final = 200  # a longer name is no product and no category
NOBODY: Final = b""  # stands for unknown customers, who get popular items

_hash = lru_cache(1 << 16)(hash_text)


class Recommended(NamedTuple):
    """The best products of one customer, the best first, as of `time_ms`, by assortment `version`."""

    time_ms: int
    version: int
    products: tuple[tuple[str, float], ...]


class RecommendationState:
    """Learns and recommends deterministically: the same baskets in the same order give the same bits."""

    def __init__(self, spec: RecommendSpec) -> None:
        self.spec = spec
        self.recommender = Recommender()
        self.shoppers: dict[bytes, CustomerItems] = {}
        self.names: dict[int, str] = {}  # of the items in the table or the assortment
        self.assortment: Assortment | None = None
        self.renewed_baskets = 0  # at the latest assortment
        self.renewed_ms = self.swept_ms = -1.0
        self.changed: set[bytes] = set()  # since the latest `take_changed`
        self._once = frozenset(_key(name) for name in spec.once)
        self._absent: frozenset[str] = frozenset()
        self._scorer: Recommendations | None = None
        self._unscored: dict[bytes, None] = {}
        self._scored: dict[bytes, Recommended | None] = {}

    # -- learning ----------------------------------------------------------------------------------------

    def learn(self, customer: bytes, lines: Sequence[Mapping[str, Any]], time_ms: int) -> bool:
        """Learn a basket; return False if none of its lines counted."""
        names = [_bounded(line["product"]) for line in lines]
        keys = [_key(name) for name in names]
        categories = [_key(_bounded(line.get("category") or "")) for line in lines]
        quantities = [line["quantity"] for line in lines]
        shopper = self.shoppers.get(customer) or CustomerItems()
        if not self.recommender.learn(keys, categories, quantities, shopper.recent, time_ms):
            return False
        self.shoppers[customer] = shopper
        if self._once:
            bought = zip(keys, categories, quantities, strict=True)
            shopper.own(
                key for key, category, quantity in bought if category in self._once and quantity > 0.0
            )
        self.names.update((key, name) for key, name in zip(keys, names, strict=True) if key)
        if self._due():
            self._score()
            self._renew()
        self.changed.add(customer)
        self._unscored[customer] = None
        return True

    def _due(self) -> bool:
        baskets = self.recommender.baskets - self.renewed_baskets
        enough = min(MOST_BASKETS, 1 + self.renewed_baskets // SIXTEENTH)
        return baskets >= enough or self.recommender.clock_ms - self.renewed_ms >= DAY_MS

    def _renew(self) -> None:
        self.renewed_baskets, self.renewed_ms = self.recommender.baskets, self.recommender.clock_ms
        if self.renewed_ms - self.swept_ms >= DAY_MS:
            self._sweep()
        self.adopt(self.recommender.snapshot(), self.names)
        self._scored[NOBODY] = self.recommended(NOBODY)

    def adopt(self, assortment: Assortment, names: Mapping[int, str]) -> None:
        """Score with this assortment from now on, and keep the `names` of its items only."""
        self.assortment = assortment
        self.names = {key: names[key] for key in assortment.keys.tolist()}
        self._make_scorer()

    def _sweep(self) -> None:
        """Forget the customers away for so long that next to nothing is left of their lists."""
        self.swept_ms = self.renewed_ms
        oldest_ms = self.swept_ms - FORGOTTEN_MS
        for customer in [c for c, shopper in self.shoppers.items() if shopper.recent[CLOCK] < oldest_ms]:
            del self.shoppers[customer]
            self.changed.add(customer)
            self._scored[customer] = None

    # -- recommending ------------------------------------------------------------------------------------

    def without(self, products: Iterable[str]) -> None:
        """Set the products out of stock; scoring leaves them out from now on."""
        self._absent = frozenset(products)
        self._make_scorer()

    def _make_scorer(self) -> None:
        if self.assortment is None:
            return
        absent = {_key(name) for name in self._absent}
        stock = set(self.assortment.keys.tolist()) - absent if absent else None
        only = None if self.spec.only is None else [_key(name) for name in self.spec.only]
        never = [_key(name) for name in self.spec.never]
        rules = RecommendationRules.of(self.assortment, stock=stock, only=only, never=never, once=self._once)
        self._scorer = Recommendations(self.assortment, rules)

    def recommended(self, customer: bytes) -> Recommended | None:
        """Return what to recommend as of the customer's latest basket; popular items to `NOBODY`.

        Return None for an unknown customer, and before the first basket of all.
        """
        shopper = self.shoppers.get(customer)
        if self._scorer is None or (shopper is None and customer != NOBODY):
            return None
        if shopper is None:
            return self._recommended(CustomerItems(nothing()), int(self.renewed_ms))
        return self._recommended(shopper, int(shopper.recent[CLOCK]))

    def _recommended(self, shopper: CustomerItems, time_ms: int) -> Recommended:
        assert self._scorer is not None
        owned = np.array(shopper.owned, np.int64)
        keys, scores = self._scorer.recommend(shopper.recent, time_ms, self.spec.top, owned)
        products = zip((self.names[key] for key in keys.tolist()), scores.tolist(), strict=True)
        return Recommended(time_ms, self._scorer.assortment.version, tuple(products))

    def _score(self) -> None:
        for customer in self._unscored:
            self._scored[customer] = self.recommended(customer)
        self._unscored.clear()

    def take_recommended(self) -> dict[bytes, Recommended | None]:
        """Return the recommendations of all who changed since the last call; None: the customer is forgotten."""
        self._score()
        found, self._scored = self._scored, {}
        return found

    def take_changed(self) -> set[bytes]:
        """Return the customers whose lists have changed since the last call."""
        found, self.changed = self.changed, set()
        return found


def warm() -> float:
    """Run every kernel of recommendations once, so that none compiles when baskets come; return the seconds it took.

    >>> warm() > 0.0
    True
    """
    began = time.perf_counter()
    shop = RecommendationState(RecommendSpec("", (), 1, None, (), (), None))
    line = {"product": "a", "category": None, "quantity": 1.0}
    for number in range(2):
        shop.learn(b"a", [line, {**line, "product": "b"}], number)
    shop.take_recommended()
    shrink(shop.recommender.table, 1.0, 1.0)
    return time.perf_counter() - began


def _bounded(name: str) -> str:
    """Return the name, or "" if it is too long."""
    return name if len(name.encode()) <= NAME_BYTES else ""


def _key(name: str) -> int:
    """Return the 52-bit hash of a name, 0 for ""."""
    return int(_hash(name)) if name else 0
