"""Which lines of an order make the basket that is learned from: bought, known, different, and not too many."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

from .item_table import LARGEST_KEY

BASKET: Final = 64  # different items; the others are cut off, as pairs grow with the square

# As of features: what is beyond is no measurement. How many were bought does not count otherwise, as units differ.
_LARGEST_QUANTITY: Final = 1e6


@kernel
def _counts(key: int, quantity: float) -> bool:
    """Whether a line is a purchase of a known item; false for NaN."""
    return 0 < key <= LARGEST_KEY and 0.0 < quantity <= _LARGEST_QUANTITY


@kernel
def clean(
    keys: NDArray[np.int64],
    categories: NDArray[np.int64],
    quantities: NDArray[np.float64],
    basket: NDArray[np.int64],
    theirs: NDArray[np.int64],
) -> int:
    """The different items of the lines that count, and their categories, as many as fit; returns their number."""
    size = 0
    for line in range(len(keys)):
        if size == len(basket):
            break
        new = _counts(keys[line], quantities[line])
        for at in range(size):
            if basket[at] == keys[line]:
                new = False
        if new:
            basket[size] = keys[line]
            theirs[size] = categories[line] if 0 < categories[line] <= LARGEST_KEY else 0
            size += 1
    return size


@kernel
def wasted(
    keys: NDArray[np.int64], quantities: NDArray[np.float64], basket: NDArray[np.int64], size: int
) -> int:
    """Lines that are in no basket; a repeated one is."""
    lost = 0
    for line in range(len(keys)):
        kept = False
        if _counts(keys[line], quantities[line]):
            for at in range(size):
                if basket[at] == keys[line]:
                    kept = True
        if not kept:
            lost += 1
    return lost
