"""Learns what a customer may buy next, basket by basket, from all customers.

The recommender compares each basket with the list of its customer's recent items. For each item of the list it learns
how often the item is bought again, and which other items are bought then; an item counts by its share, its weight
divided by the customer's number of baskets. Pairs within the basket count too, but less. Items, followers, basket and
time are bounded: see `models.recommendation.item_table`. A snapshot of the result is an `Assortment`
(models/recommendation/assortment.py), which scores customers.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.array_bytes import from_bytes, to_bytes
from models.scoring import LARGEST_VERSION
from streams.errors import Poison
from streams.kernels import kernel

from .assortment import Assortment
from .basket import BASKET, clean, wasted
from .item_table import LARGEST_KEY, WAYS, Table, bucket, count, empty, find, follow, put_words, shrink
from .recent_items import BASKETS, HALF_LIFE_MS, KEYS, faded, remember

ITEMS: Final = 16_384  # 14 MB with their followers; four times as many predict about half a percent more
FOLLOWERS: Final = 32
NEIGHBOURS: Final = 16  # followers of each item in a snapshot

DAY_MS: Final = 86_400_000.0
POPULAR_HALF_LIFE_MS: Final = 14 * DAY_MS  # popularity follows seasons and what is on display
PAIR_HALF_LIFE_MS: Final = 180 * DAY_MS  # which items go together changes slowly

# Pairs within a basket count as if the customer had had each item in one basket of fifty. That is next to nothing
# beside the baskets of returning customers, and the only evidence for items of those who do not return.
WITHIN: Final = 0.02

# After so many baskets of customers who have an item, its own repeat rate weighs as much as that of all items.
_REPEATS_PRIOR: Final = 20.0
_FOLLOWS_PRIOR: Final = 1.0

# A basket moves the clock forward by a day at most, and counts as at most ten half-lives old: a single wrong time
# neither fades what was learned nor puts the rest of the stream into the past.
_STEP_MS: Final = DAY_MS
_LATEST: Final = 10.0
_LARGEST_MS: Final = 2.0**53

_HALVINGS: Final = 64.0  # increments are rescaled when they have grown to 2^64, far below float64's 2^1024
_LARGEST_COUNT: Final = 2.0**200

_FORMAT: Final = 1
_SOLD, _SHOWN, _REPEATED = range(3)  # totals: baskets, shares shown, shares repeated


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """All that a recommender needs to continue as if undisturbed; tables are little-endian bytes."""

    format: int
    items: int
    followers: int
    version: int
    baskets: int
    ignored: int
    clock_ms: float
    popular_origin_ms: float
    pair_origin_ms: float
    totals: bytes
    table: dict[str, bytes]


class Recommender:
    """Learns deterministically: the same baskets with the same lists give the same bits."""

    def __init__(self, items: int = ITEMS, followers: int = FOLLOWERS) -> None:
        self.table = empty(items, followers)
        self.version = 0
        self.baskets = 0
        self.ignored = 0  # lines that are no purchase or beyond BASKET, or of a basket with a wrong time
        self.clock_ms = -1.0  # before the first basket
        self._popular_origin_ms = 0.0
        self._pair_origin_ms = 0.0
        self._totals = np.zeros(3)
        self._basket = np.zeros(BASKET, np.int64)
        self._categories = np.zeros(BASKET, np.int64)

    def learn(
        self,
        keys: ArrayLike,
        categories: ArrayLike,
        quantities: ArrayLike,
        recent: NDArray[np.float64],
        time_ms: float,
    ) -> bool:
        """Learn one basket and add it to its customer's list, `recent`; return False if none of its lines counted.

        keys, categories (0 = none), quantities: one for each line. Raise Poison if `recent` is not a list, or the
        three differ in length.
        """
        lines = (
            np.asarray(keys, np.int64),
            np.asarray(categories, np.int64),
            np.asarray(quantities, np.float64),
        )
        if not len(lines[0]) == len(lines[1]) == len(lines[2]):
            raise Poison(f"{len(lines[0])} keys, {len(lines[1])} categories, {len(lines[2])} quantities")
        check(recent)
        if not 0.0 <= time_ms <= _LARGEST_MS:  # false for NaN
            self.ignored += len(lines[0])
            return False
        size = clean(*lines, self._basket, self._categories)
        self.ignored += wasted(lines[0], lines[2], self._basket, size)
        if size == 0:
            return False
        time_ms = self._advance(float(time_ms))
        sold = 2.0 ** ((time_ms - self._popular_origin_ms) / POPULAR_HALF_LIFE_MS)
        paired = 2.0 ** ((time_ms - self._pair_origin_ms) / PAIR_HALF_LIFE_MS)
        _learn(
            self.table,
            self._totals,
            self._basket,
            self._categories,
            size,
            recent,
            time_ms,
            sold,
            paired,
            WITHIN,
        )
        remember(recent, self._basket, size, time_ms, HALF_LIFE_MS)
        self.baskets += 1
        return True

    def _advance(self, time_ms: float) -> float:
        """Move the clock towards `time_ms`; return the time at which the basket counts."""
        if self.clock_ms < 0.0:
            self.clock_ms = self._popular_origin_ms = self._pair_origin_ms = time_ms
        self.clock_ms = max(self.clock_ms, min(time_ms, self.clock_ms + _STEP_MS))
        popular = pairs = 1.0
        if self.clock_ms - self._popular_origin_ms > _HALVINGS * POPULAR_HALF_LIFE_MS:
            self._popular_origin_ms += _HALVINGS * POPULAR_HALF_LIFE_MS
            popular = 2.0**_HALVINGS
        if self.clock_ms - self._pair_origin_ms > _HALVINGS * PAIR_HALF_LIFE_MS:
            self._pair_origin_ms += _HALVINGS * PAIR_HALF_LIFE_MS
            pairs = 2.0**_HALVINGS
        if popular * pairs > 1.0:
            shrink(self.table, popular, pairs)
            self._totals /= np.array([popular, pairs, pairs])
        return max(min(time_ms, self.clock_ms), self.clock_ms - _LATEST * POPULAR_HALF_LIFE_MS)

    def snapshot(self, neighbours: int = NEIGHBOURS) -> Assortment:
        """Return the next version of the assortment, its items in the order of their keys."""
        self.version += 1
        table = self.table
        rows = np.flatnonzero(table.keys)
        rows = rows[np.argsort(table.keys[rows], kind="stable")]
        keys = table.keys[rows]
        one = 2.0 ** ((max(self.clock_ms, 0.0) - self._pair_origin_ms) / PAIR_HALF_LIFE_MS)
        ours = self._totals[_REPEATED] / self._totals[_SHOWN] if self._totals[_SHOWN] else 0.0
        prior = _REPEATS_PRIOR * one
        repeats = (table.repeated[rows] + prior * ours) / (table.shown[rows] + prior)
        sold = table.counts[rows] - table.errors[rows] / 2.0  # the middle of the range of the true count
        popularity = sold / max(self._totals[_SOLD], 1e-300)
        places, chances = _followers(table, rows, keys, one, neighbours)
        return Assortment(
            version=self.version,
            keys=keys,
            categories=table.categories[rows],
            repeats=np.clip(repeats, 0.0, 1.0).astype(np.float32),
            popularity=np.clip(popularity, 0.0, 1.0).astype(np.float32),
            neighbours=places,
            follows=chances,
            half_life_ms=HALF_LIFE_MS,
        )

    def state(self, *, table: bool = True) -> bytes:
        """Return plain data (MessagePack) from which `restore` continues bit for bit; small without its `table`."""
        return msgspec.msgpack.encode(
            _State(
                format=_FORMAT,
                items=len(self.table.keys),
                followers=self.table.followers.shape[1],
                version=self.version,
                baskets=self.baskets,
                ignored=self.ignored,
                clock_ms=self.clock_ms,
                popular_origin_ms=self._popular_origin_ms,
                pair_origin_ms=self._pair_origin_ms,
                totals=to_bytes(self._totals),
                table={name: to_bytes(array) for name, array in self.table._asdict().items()}
                if table
                else {},
            )
        )

    @classmethod
    def restore(
        cls,
        state: bytes,
        items: int = ITEMS,
        followers: int = FOLLOWERS,
        rows: NDArray[np.int64] | None = None,
    ) -> Recommender:
        """Continue from `state`, made with the same bounds; raise Poison if it is not valid.

        `rows`: the `item_table.words` of the table, if the state is without it.
        """
        try:
            known = msgspec.msgpack.decode(state, type=_State)
            if known.format != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {known.format}")
            if (known.items, known.followers) != (items, followers):
                raise ValueError(
                    f"expected {items} items of {followers}, got {known.items} of {known.followers}"
                )
            recommender = cls(items, followers)
            if set(known.table) != (set(Table._fields) if rows is None else set()):
                raise ValueError(f"its tables are {', '.join(sorted(known.table))}")
            if rows is not None:
                put_words(recommender.table, rows)
            for name, data in known.table.items():
                from_bytes(getattr(recommender.table, name), data, name)
            from_bytes(recommender._totals, known.totals, "totals")
            _check_state(known, recommender.table)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Poison(f"not the state of a recommender: {error}") from error
        recommender.version, recommender.baskets = known.version, known.baskets
        recommender.ignored, recommender.clock_ms = known.ignored, known.clock_ms
        recommender._popular_origin_ms = known.popular_origin_ms
        recommender._pair_origin_ms = known.pair_origin_ms
        return recommender


def check(recent: NDArray[np.float64]) -> None:
    """Raise Poison if `recent` is not a list of a customer's items."""
    if recent.dtype != np.float64 or recent.ndim != 1 or len(recent) <= KEYS or len(recent) % 2:
        raise Poison(f"not a list of recent items: {recent.dtype}{list(recent.shape)}")
    if not (np.isfinite(recent).all() and recent.min() >= 0.0):
        raise Poison("a list of recent items has a number that is negative or not finite")


@kernel
def _learn(
    table: Table,
    totals: NDArray[np.float64],
    basket: NDArray[np.int64],
    categories: NDArray[np.int64],
    size: int,
    recent: NDArray[np.float64],
    time_ms: float,
    sold: float,
    paired: float,
    within: float,
) -> None:
    """Learn one basket before its customer's list has it; `sold`, `paired`: the increments for one at its time."""
    places = (len(recent) - KEYS) // 2
    left = faded(recent, time_ms, HALF_LIFE_MS)
    baskets = recent[BASKETS] * left + 1.0
    for at in range(KEYS, KEYS + places):
        item = int(recent[at])
        weight = recent[at + places] * left / baskets * paired
        place = find(table.keys, item) if item > 0 else -1
        if place < 0 or not weight > 0.0:
            continue
        table.shown[place] += weight
        table.paired[place] += weight
        totals[_SHOWN] += weight
        for i in range(size):
            if basket[i] == item:
                table.repeated[place] += weight
                totals[_REPEATED] += weight
            else:
                follow(table, place, basket[i], weight)
    totals[_SOLD] += sold
    for i in range(size):
        count(table, basket[i], categories[i], sold)
    for i in range(size):
        place = find(table.keys, basket[i])
        if place < 0 or not within > 0.0:  # evicted by a later item of the same basket
            continue
        table.paired[place] += within * paired
        for j in range(size):
            if j != i:
                follow(table, place, basket[j], within * paired)


def _followers(
    table: Table, rows: NDArray[np.int64], keys: NDArray[np.int64], one: float, neighbours: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return int32[n, K], places among `keys`, -1 = none, and float32[n, K], the chances, the largest first."""
    theirs = table.followers[rows]
    middle = table.follows[rows] - table.excess[rows] / 2.0
    chances = np.clip(middle / (table.paired[rows] + _FOLLOWS_PRIOR * one)[:, None], 0.0, 1.0)
    if not len(keys):
        return np.zeros((0, neighbours), np.int32), np.zeros((0, neighbours), np.float32)
    places = np.minimum(np.searchsorted(keys, theirs), len(keys) - 1)
    places[(keys[places] != theirs) | (theirs == 0)] = -1  # followers that were evicted as items
    small = chances.astype(np.float32)
    small[places < 0] = 0.0
    places[small <= 0.0] = -1
    best = np.lexsort((theirs, -small), axis=1)[:, :neighbours]  # ties go by the smaller key
    found = np.full((len(keys), neighbours), -1, np.int32), np.zeros((len(keys), neighbours), np.float32)
    found[0][:, : best.shape[1]] = np.take_along_axis(places, best, 1)
    found[1][:, : best.shape[1]] = np.take_along_axis(small, best, 1)
    return found


def _check_state(known: _State, table: Table) -> None:
    """Raise ValueError if learning from this state would fail, or make a snapshot that is refused."""
    if not all(0 <= number <= LARGEST_VERSION for number in (known.version, known.baskets, known.ignored)):
        raise ValueError("a count is negative or too large")
    times = (known.clock_ms, known.popular_origin_ms, known.pair_origin_ms)
    if not all(-1.0 <= time_ms <= _LARGEST_MS for time_ms in times):
        raise ValueError("a time is too large or not a number")
    ages = [(known.clock_ms - origin_ms) / (_HALVINGS + 1.0) for origin_ms in times[1:]]
    late = ages[0] > POPULAR_HALF_LIFE_MS or ages[1] > PAIR_HALF_LIFE_MS
    if late or max(times[1:]) > max(known.clock_ms, 0.0):
        raise ValueError("times that do not go together")
    totals = np.frombuffer(known.totals, "<f8")
    numbers = (totals, table.counts, table.errors, table.shown, table.repeated, table.paired)
    for array in (*numbers, table.follows, table.excess):
        if not ((array >= 0.0) & (array <= _LARGEST_COUNT)).all():  # false for NaN
            raise ValueError("a count is negative, too large or not a number")
    for keys in (table.keys, table.categories, table.followers):
        if keys.min() < 0 or keys.max() > LARGEST_KEY:
            raise ValueError("a key is not valid")
    for place in np.flatnonzero(table.keys).tolist():
        first = place - place % WAYS
        if (
            bucket(int(table.keys[place]), len(table.keys)) != first
            or find(table.keys, int(table.keys[place])) != place
        ):
            raise ValueError("an item is in a wrong place, or twice")
    if not math.isfinite(float(totals.sum())) or totals[_REPEATED] > totals[_SHOWN] * (1.0 + 1e-6):
        raise ValueError("its totals do not go together")
