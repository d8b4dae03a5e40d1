"""Kernels that compute the chance of each item in a customer's next basket, from an assortment's arrays.

    chance(j) = share(j) repeats(j) + prior / (baskets + 1 + prior) * wish(j)
    wish(j)   = (sum over the customer's items i of share(i) follows(i, j) + popularity(j)) / (sum of share(i) + 1)

share(i) is the weight of i divided by the customer's baskets + 1. So the customer's own items count by how often
customers buy them again; other items count by how well they go with the own ones, and less the more is known of the
customer. A customer without items gets the popular ones. The kernel takes microseconds a customer: score those whose
list has changed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

from .recent_items import BASKETS, KEYS, faded

PRIOR: Final = 1.0  # the items that go with the customer's own weigh as one basket of the customer


@kernel
def _place(keys: NDArray[np.int64], key: int) -> int:
    """Return the place of `key` among ascending keys, or -1."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1


@kernel
def _offer(key: int, score: float, size: int, best: NDArray[np.int64], scores: NDArray[np.float64]) -> int:
    """Insert an item into the best, ties with the smaller key first; return how many there are."""
    at = size
    while at > 0 and (scores[at - 1] < score or (scores[at - 1] == score and best[at - 1] > key)):
        if at < len(best):
            best[at], scores[at] = best[at - 1], scores[at - 1]
        at -= 1
    if at < len(best):
        best[at], scores[at] = key, score
    return min(size + 1, len(best))


@kernel
def recommend(
    recent: NDArray[np.float64],
    owned: NDArray[np.int64],
    now_ms: float,
    half_life_ms: float,
    keys: NDArray[np.int64],
    repeats: NDArray[np.float32],
    popularity: NDArray[np.float32],
    popular: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    follows: NDArray[np.float32],
    allowed: NDArray[np.uint8],
    once: NDArray[np.uint8],
    own: NDArray[np.float64],
    wish: NDArray[np.float64],
    marks: NDArray[np.uint8],
    touched: NDArray[np.int32],
    best: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> int:
    """Fill `best` and `scores` with the best items of one customer; return their number.

    own, wish: float64[n], marks: uint8[n], touched: int32[n] are scratch; all but the last are zero before and after.
    """
    n, places, count, size = len(keys), (len(recent) - KEYS) // 2, 0, 0
    left = faded(recent, now_ms, half_life_ms)
    baskets = recent[BASKETS] * left + 1.0
    shares = 1.0
    for at in range(KEYS, KEYS + places):
        share = recent[at + places] * left / baskets
        i = _place(keys, int(recent[at]))
        if i < 0 or not share > 0.0:
            continue
        shares += share
        if marks[i] == 0:
            touched[count] = i
            count += 1
        marks[i] = 3 if once[i] else 1
        own[i] += share * repeats[i]
        for near in range(neighbours.shape[1]):
            j = neighbours[i, near]
            if j < 0:
                continue
            if marks[j] == 0:
                touched[count] = j
                count += 1
                marks[j] = 1
            wish[j] += share * follows[i, near]
    for at in range(len(owned)):
        i = _place(keys, owned[at])
        if i >= 0 and once[i]:
            if marks[i] == 0:
                touched[count] = i
                count += 1
            marks[i] = 3
    prior = PRIOR / (baskets + PRIOR) / shares
    for at in range(count):
        i = touched[at]
        if allowed[i] and marks[i] == 1:
            size = _offer(keys[i], own[i] + prior * (wish[i] + popularity[i]), size, best, scores)
    fallback, rank = 0, 0
    while fallback < len(best) and rank < n:
        i = popular[rank]
        if size == len(best) and not prior * popularity[i] >= scores[size - 1]:
            break
        if allowed[i] and marks[i] == 0:
            size = _offer(keys[i], prior * popularity[i], size, best, scores)
            fallback += 1
        rank += 1
    for at in range(count):
        own[touched[at]] = 0.0
        wish[touched[at]] = 0.0
        marks[touched[at]] = 0
    return size


@kernel
def recommend_each(
    recents: NDArray[np.float64],
    slots: NDArray[np.int64],
    owned: NDArray[np.int64],
    now_ms: float,
    half_life_ms: float,
    keys: NDArray[np.int64],
    repeats: NDArray[np.float32],
    popularity: NDArray[np.float32],
    popular: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    follows: NDArray[np.float32],
    allowed: NDArray[np.uint8],
    once: NDArray[np.uint8],
    own: NDArray[np.float64],
    wish: NDArray[np.float64],
    marks: NDArray[np.uint8],
    touched: NDArray[np.int32],
    best: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    """Call `recommend` for each row of `slots`, into its row of `best` and `scores`; same arguments."""
    for at in range(len(slots)):
        recommend(
            recents[slots[at]],
            owned,
            now_ms,
            half_life_ms,
            keys,
            repeats,
            popularity,
            popular,
            neighbours,
            follows,
            allowed,
            once,
            own,
            wish,
            marks,
            touched,
            best[at],
            scores[at],
        )
