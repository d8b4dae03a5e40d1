"""Measures recommendations on Complete Journey, in order of time: `python -m bench.quality.recommend`.

Each basket of a household is predicted before it is learned, from last night's snapshot and the household's current
list. recall@10 = items of the basket among the ten recommended / distinct items of the basket; the figure is its mean
over the last half of the baskets, for households with an earlier one. The baselines, on the same baskets: the ten items
most popular now, and the household's own most frequent items, filled up with the popular ones. Both count with decay,
know every earlier basket, and have no memory limit.
"""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.harness import say
from ingest.datasets import CompleteJourney
from models.recommendation import (
    DAY_MS,
    HALF_LIFE_MS,
    POPULAR_HALF_LIFE_MS,
    RECENT,
    Recommendations,
    Recommender,
    nothing,
)
from schemas import decode
from streams.kernels import hash_text

TOP = 10
_SAY_EVERY = 10_000
_TIMES = 5  # runs; the first one compiles


class Basket(NamedTuple):
    """One order: customer, time, and the key, category and quantity of each line."""

    customer: bytes
    time_ms: float
    keys: list[int]
    categories: list[int]
    quantities: list[float]

    def items(self) -> list[int]:
        """The distinct items with a quantity above zero, in order."""
        lines = zip(self.keys, self.quantities, strict=True)
        return list(dict.fromkeys(key for key, quantity in lines if quantity > 0.0))


class Counts:
    """Decayed counts of items, kept by growing increments; the baselines recommend the items with the largest."""

    def __init__(self, half_life_ms: float, first_ms: float) -> None:
        self.half_life_ms, self.first_ms = half_life_ms, first_ms
        self.of: dict[int, float] = {}

    def add(self, items: list[int], time_ms: float) -> None:
        one = 2.0 ** ((time_ms - self.first_ms) / self.half_life_ms)
        for item in items:
            self.of[item] = self.of.get(item, 0.0) + one

    def top(self) -> list[int]:
        return heapq.nlargest(TOP, self.of, key=self.of.__getitem__)


class Popular(Counts):
    """Counts that keep their top list: counts only grow, so only items of the new basket can enter it."""

    def __init__(self, half_life_ms: float, first_ms: float) -> None:
        super().__init__(half_life_ms, first_ms)
        self._top: list[int] = []

    def add(self, items: list[int], time_ms: float) -> None:
        super().add(items, time_ms)
        rivals = dict.fromkeys((*self._top, *items))
        self._top = heapq.nlargest(TOP, rivals, key=self.of.__getitem__)

    def top(self) -> list[int]:
        return self._top


def run(limit: int | None = None) -> dict[str, float]:
    """Return the figures over the first `limit` baskets (None: all)."""
    baskets = list(_baskets(limit))
    say(f"{len(baskets):,} baskets read")
    first_ms = baskets[0].time_ms
    learner, popular = Recommender(), Popular(POPULAR_HALF_LIFE_MS, first_ms)
    recents: dict[bytes, NDArray[np.float64]] = {}
    owns: dict[bytes, Counts] = {}
    scorer, night = Recommendations(learner.snapshot()), first_ms
    sums, counted = np.zeros(3), 0
    for number, basket in enumerate(baskets):
        if basket.time_ms - night >= DAY_MS:
            scorer, night = Recommendations(learner.snapshot()), basket.time_ms
        items = basket.items()
        if basket.customer not in recents:
            recents[basket.customer] = nothing(RECENT)
            owns[basket.customer] = Counts(HALF_LIFE_MS, first_ms)
        recent, own = recents[basket.customer], owns[basket.customer]
        if number >= len(baskets) // 2 and own.of and items:
            ours = scorer.recommend(recent, basket.time_ms, TOP)[0].tolist()
            filled = list(dict.fromkeys((*own.top(), *popular.top())))[:TOP]
            sums += [recall(list_, items) for list_ in (ours, popular.top(), filled)]
            counted += 1
        learner.learn(basket.keys, basket.categories, basket.quantities, recent, basket.time_ms)
        popular.add(items, basket.time_ms)
        own.add(items, basket.time_ms)
        if number % _SAY_EVERY == _SAY_EVERY - 1:
            say(f"{number + 1:,} baskets, recall@10 {' '.join(f'{x:.4f}' for x in sums / max(counted, 1))}")
    ours, theirs, own_frequent = (sums / max(counted, 1)).tolist()
    return {
        "recall_at_10": ours,
        "popular": theirs,
        "own_frequent": own_frequent,
        "baskets": counted,
        "recommend_us": _recommend_us(scorer, list(recents.values()), baskets[-1].time_ms),
    }


def recall(recommended: list[int], items: list[int]) -> float:
    """Return the share of the basket that was recommended."""
    return len(set(recommended) & set(items)) / len(items)


def _recommend_us(scorer: Recommendations, recents: list[NDArray[np.float64]], now_ms: float) -> float:
    """Return CPU microseconds per customer when one call scores all."""
    rows, slots, best_s = np.array(recents), np.arange(len(recents)), np.inf
    for _ in range(_TIMES):
        start_s = time.process_time()
        scorer.changed(rows, slots, now_ms, TOP)
        best_s = min(best_s, time.process_time() - start_s)
    return best_s / len(slots) * 1e6


def _baskets(limit: int | None) -> Iterator[Basket]:
    hashes: dict[str | None, int] = {None: 0}

    def key(text: str | None) -> int:
        if text not in hashes:
            hashes[text] = int(hash_text(text or ""))
        return hashes[text]

    found = 0
    for topic, customer, time_ms, value in CompleteJourney().events():
        if topic != "sales.events":
            continue
        if found == limit:
            return
        found += 1
        lines: list[dict[str, Any]] = decode(value)[1]["lines"]
        yield Basket(
            customer,
            float(time_ms),
            [key(line["product"]) for line in lines],
            [key(line["category"]) for line in lines],
            [line["quantity"] for line in lines],
        )


def main(limit: int | None = None) -> None:
    figures = run(limit)
    print("recall@10 of the next basket")
    for name in ("recall_at_10", "own_frequent", "popular"):
        print(f"  {name:<14}{figures[name]:.4f}")
    print(f"{figures['baskets']:,.0f} baskets, {figures['recommend_us']:.1f} us a customer")
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
