"""Which lines of an order make the basket to learn: distinct known items that were bought, up to a limit."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.kernels import kernel

from .item_table import LARGEST_KEY

BASKET: Final = 64  # distinct items; the rest is dropped, because pairs grow with the square

# A larger quantity is no measurement, as with features. Beyond that quantities do not count, because units differ.
_LARGEST_QUANTITY: Final = 1e6


@kernel
def _counts(key: int, quantity: float) -> bool:
    """Return whether a line is a purchase of a known item; false for NaN."""
    return 0 < key <= LARGEST_KEY and 0.0 < quantity <= _LARGEST_QUANTITY


@kernel
def clean(
    keys: NDArray[np.int64],
    categories: NDArray[np.int64],
    quantities: NDArray[np.float64],
    basket: NDArray[np.int64],
    theirs: NDArray[np.int64],
) -> int:
    """Fill `basket` and `theirs` with the distinct items that count and their categories; return their number."""
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
    """Count the lines whose item is not in the basket; a repeated line counts as in it."""
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
