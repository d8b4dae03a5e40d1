"""The recent purchases of one customer: a bounded, decaying list of float64 that fits into the customer's row.

recent: float64[2 + 2 r] = time of the latest basket in ms, number of baskets, r keys, r weights. Baskets and weights
decay with one half-life and are as of that time. A key is a 52-bit hash, exact in a float64; 0 = free. If the list is
full, the item with the smallest weight is dropped. All zero: nothing known.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

RECENT: Final = 64  # a kilobyte in the row; twice as many predict about 1% more of next baskets
HALF_LIFE_MS: Final = 45 * 86_400_000.0  # for groceries, 30 and 90 days predict within 1% as well

CLOCK: Final = 0
BASKETS: Final = 1
KEYS: Final = 2


def nothing(size: int = RECENT) -> NDArray[np.float64]:
    """Return the list of a new customer.

    >>> nothing(size=3).tolist()  # time of the latest basket, number of baskets, 3 keys, 3 weights
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    return np.zeros(KEYS + 2 * size)


@kernel
def faded(recent: NDArray[np.float64], time_ms: float, half_life_ms: float) -> float:
    """Return the decay factor of the list's weights at `time_ms`; 1 if that is before the list's own time."""
    late = time_ms - recent[CLOCK]
    return 2.0 ** (-late / half_life_ms) if late > 0.0 else 1.0


@kernel
def remember(
    recent: NDArray[np.float64], basket: NDArray[np.int64], size: int, time_ms: float, half_life_ms: float
) -> None:
    """Add the first `size` items of `basket`, all distinct. A late basket counts less and sets no clock."""
    places = (len(recent) - KEYS) // 2
    added = 1.0
    if recent[BASKETS] > 0.0 and time_ms < recent[CLOCK]:
        added = 2.0 ** ((time_ms - recent[CLOCK]) / half_life_ms)
    else:
        left = faded(recent, time_ms, half_life_ms)
        recent[BASKETS] *= left
        for at in range(KEYS + places, KEYS + 2 * places):
            recent[at] *= left
        recent[CLOCK] = time_ms
    recent[BASKETS] += added
    for i in range(size):
        low = KEYS
        for at in range(KEYS, KEYS + places):
            if recent[at] == basket[i]:
                low = at
                break
            if recent[at + places] < recent[low + places]:
                low = at
        if recent[low] != basket[i]:
            if recent[low + places] > added:  # a late item does not evict one that weighs more
                continue
            recent[low] = basket[i]
            recent[low + places] = 0.0
        recent[low + places] += added
