"""The chance of each item in a customer's next basket, from the arrays of an assortment. Kernels.

    chance(j) = share(j) repeats(j) + prior / (baskets + 1 + prior) * wish(j)
    wish(j)   = (sum over the customer's items i of share(i) follows(i, j) + popularity(j)) / (sum of share(i) + 1)

share(i) is the weight of i by the customer's baskets + 1. So each own item counts by how often customers come back
for it, the others by what goes with the own ones, less the more is known of the customer; who has nothing gets
what is popular. The kernel needs microseconds a customer: score those whose list has changed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

from .recent_items import BASKETS, KEYS, faded

PRIOR: Final = 1.0  # what goes with the customer's items counts as one basket of the customer's own


@kernel
def _place(keys: NDArray[np.int64], key: int) -> int:
    """Where `key` is among ascending keys, or -1."""
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
    """Enter one among the best, of equal ones the lesser key first; returns how many there are."""
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
    """The best items of one customer into `best` and `scores`; returns their number.

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
    """`recommend` for each row of `slots`, into its row of `best` and `scores`; the arguments are the same."""
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
