"""The table of known items and of the items that follow each: decaying counts in bounded memory.

An item is its key, the 52-bit hash of its name. The low bits of the key name its bucket of `WAYS` places, so that a
short loop finds or replaces an item, and the tables are plain arrays. If a bucket, or the list of an item's followers,
is full, a new item replaces the smallest count and inherits it as its error (Space-Saving: Metwally, Agrawal and El
Abbadi 2005). The true count lies between count - error and count. Every item with more than the total of its table
divided by the number of places is in the table.

Counts decay by growing increments (forward decay: Cormode, Shkapenyuk, Srivastava and Xu 2009): one count at time t
adds 2^(t / half-life). So old counts need no update, and comparisons are right at any time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

WAYS: Final = 16  # 128 bytes of keys: two cache lines
LARGEST_KEY: Final = 2**52 - 1  # of the engine's hashes of strings, exact in a float64; 0 marks a free place


class Table(NamedTuple):
    """The arrays for the kernels; n items in n / WAYS buckets, with c followers each.

    keys: int64[n], 0 = free; categories: int64[n], 0 = none; counts, errors: float64[n], baskets with the item;
    shown: float64[n], the summed shares of the item in customers' lists when a basket came; repeated: float64[n], the
    part of `shown` for which the basket had the item again; paired: float64[n], `shown` plus the pairs within
    baskets, for the followers. followers: int64[n, c], keys, 0 = free; follows, excess: float64[n, c], the part of
    `paired` for which the basket had that follower, and its error.
    """

    keys: NDArray[np.int64]
    categories: NDArray[np.int64]
    counts: NDArray[np.float64]
    errors: NDArray[np.float64]
    shown: NDArray[np.float64]
    repeated: NDArray[np.float64]
    paired: NDArray[np.float64]
    followers: NDArray[np.int64]
    follows: NDArray[np.float64]
    excess: NDArray[np.float64]


def empty(items: int, followers: int) -> Table:
    """Make an empty table; `items` must be WAYS times a power of two."""
    buckets = items // WAYS
    if items <= 0 or items % WAYS or buckets & (buckets - 1):
        raise ValueError(f"expected {WAYS} times a power of two items, got {items}")
    if followers <= 0:
        raise ValueError(f"expected at least one follower of an item, got {followers}")
    whole, wide = np.int64, (items, followers)
    return Table(
        np.zeros(items, whole),
        np.zeros(items, whole),
        np.zeros(items),
        np.zeros(items),
        np.zeros(items),
        np.zeros(items),
        np.zeros(items),
        np.zeros(wide, whole),
        np.zeros(wide),
        np.zeros(wide),
    )


def words(table: Table) -> NDArray[np.int64]:
    """Return int64[n, 7 + 3 c], a row for each item: its part of each array side by side, floats as their bits.

    >>> words(empty(16, 2)).shape
    (16, 13)
    """
    return np.concatenate([array.reshape(len(array), -1).view(np.int64) for array in table], axis=1)


def put_words(table: Table, rows: NDArray[np.int64]) -> None:
    """Fill a table from its `words`; raise ValueError if their shape does not fit."""
    wide = sum(array[0].size for array in table)
    if rows.shape != (len(table.keys), wide):
        raise ValueError(f"its items are {list(rows.shape)}, not {[len(table.keys), wide]}")
    at = 0
    for array in table:
        size = array[0].size
        array.reshape(len(array), -1).view(np.int64)[...] = rows[:, at : at + size]
        at += size


@kernel
def bucket(key: int, items: int) -> int:
    """Return the first place of the key's bucket, in a table of `items` places."""
    return int(key & (items // WAYS - 1)) * WAYS


@kernel
def find(keys: NDArray[np.int64], key: int) -> int:
    """Return the item's place, or -1."""
    first = bucket(key, len(keys))
    for place in range(first, first + WAYS):
        if keys[place] == key:
            return place
    return -1


@kernel
def count(table: Table, key: int, category: int, weight: float) -> int:
    """Count the item, which may evict the smallest count of its bucket; return its place."""
    place = find(table.keys, key)
    if place < 0:
        place = bucket(key, len(table.keys))
        for other in range(place + 1, place + WAYS):  # a free place has count 0
            if table.counts[other] < table.counts[place]:
                place = other
        table.keys[place] = key
        table.errors[place] = table.counts[place]
        table.shown[place] = 0.0
        table.repeated[place] = 0.0
        table.paired[place] = 0.0
        for at in range(table.followers.shape[1]):
            table.followers[place, at] = 0
            table.follows[place, at] = 0.0
            table.excess[place, at] = 0.0
    table.categories[place] = category  # the latest one wins
    table.counts[place] += weight
    return place


@kernel
def follow(table: Table, place: int, key: int, weight: float) -> None:
    """Count `key` as a follower of the item at `place`; it may evict the smallest of its followers."""
    low = 0
    for at in range(table.followers.shape[1]):
        if table.followers[place, at] == key:
            table.follows[place, at] += weight
            return
        if table.follows[place, at] < table.follows[place, low]:
            low = at
    table.followers[place, low] = key
    table.excess[place, low] = table.follows[place, low]
    table.follows[place, low] += weight


@kernel
def shrink(table: Table, counts: float, pairs: float) -> None:
    """Divide counts and pairs by a power of two each, before increments grow too large."""
    for place in range(len(table.keys)):
        table.counts[place] /= counts
        table.errors[place] /= counts
        table.shown[place] /= pairs
        table.repeated[place] /= pairs
        table.paired[place] /= pairs
        for at in range(table.followers.shape[1]):
            table.follows[place, at] /= pairs
            table.excess[place, at] /= pairs
