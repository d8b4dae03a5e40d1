"""Which items are known, and which follow which: counts that fade, in tables that do not grow.

An item is its key, the 52-bit hash of its name. Its row lies in the bucket that the key's low bits name, among
`WAYS`; so finding and replacing are a short loop, and the tables are plain arrays. Where a bucket, or the list of
an item's followers, is full, the newcomer takes the place of the smallest count and inherits it as its error
(Space-Saving: Metwally, Agrawal and El Abbadi 2005). A true count lies between count - error and count, and
whatever has more than its table's total divided by its places is in it.

Counts fade by growing increments (forward decay: Cormode, Shkapenyuk, Srivastava and Xu 2009): at time t one adds
2^(t / half-life), so nothing has to be touched to fade, and comparisons are right at any time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

WAYS: Final = 16  # 128 bytes of keys: two cache lines
LARGEST_KEY: Final = 2**52 - 1  # the engine's hashes of strings, exact in a float64; 0 is a free place


class Table(NamedTuple):
    """The arrays, as the kernels take them; n items in n / WAYS buckets, c followers of each.

    keys: int64[n], 0 = free; categories: int64[n], 0 = none; counts, errors: float64[n], baskets with the item;
    shown: float64[n], how much of it customers had when a basket came; repeated: float64[n], how much of that
    came with the item in the basket; paired: float64[n], the same as shown, for followers and with the pairs
    within baskets. followers: int64[n, c], keys, 0 = free; follows, excess: float64[n, c], how much of `paired`
    came with that other item in the basket, and its error.
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
    """A table that knows nothing; `items` is a multiple of WAYS, and their quotient a power of two."""
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
    """int64[n, 7 + 3 c], a row an item: its part of each array side by side, floats by their bits."""
    return np.concatenate([array.reshape(len(array), -1).view(np.int64) for array in table], axis=1)


def put_words(table: Table, rows: NDArray[np.int64]) -> None:
    """The reverse of `words`; raises ValueError where the rows are of another table."""
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
    """The first place of the key's bucket, of `items` places."""
    return int(key & (items // WAYS - 1)) * WAYS


@kernel
def find(keys: NDArray[np.int64], key: int) -> int:
    """The item's place, or -1."""
    first = bucket(key, len(keys))
    for place in range(first, first + WAYS):
        if keys[place] == key:
            return place
    return -1


@kernel
def count(table: Table, key: int, category: int, weight: float) -> int:
    """Count the item, which may drive out the weakest of its bucket; returns its place."""
    place = find(table.keys, key)
    if place < 0:
        place = bucket(key, len(table.keys))
        for other in range(place + 1, place + WAYS):  # a free place counts 0
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
    table.categories[place] = category  # the latest that was said
    table.counts[place] += weight
    return place


@kernel
def follow(table: Table, place: int, key: int, weight: float) -> None:
    """Item `key` followed the item at `place`; it may drive out the weakest of its followers."""
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
    """Divide what is counted by a power of two each, before increments grow too large."""
    for place in range(len(table.keys)):
        table.counts[place] /= counts
        table.errors[place] /= counts
        table.shown[place] /= pairs
        table.repeated[place] /= pairs
        table.paired[place] /= pairs
        for at in range(table.followers.shape[1]):
            table.follows[place, at] /= pairs
            table.excess[place, at] /= pairs
