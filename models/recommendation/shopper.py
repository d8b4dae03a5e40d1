"""What recommendations know of one customer: the decaying list, and the items bought only once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.array_bytes import to_bytes
from streams.errors import Poison

from .item_table import LARGEST_KEY
from .recent_items import KEYS, RECENT, nothing
from .recommender import check

OWNED: Final = 64  # items; the oldest beyond are forgotten


@dataclass(slots=True, eq=False)
class CustomerItems:
    """One customer. recent: float64[2 + 2 r], see `models.recommendation.recent_items`.

    owned: keys of the items that the customer bought from categories in `once`, the latest last.
    """

    recent: NDArray[np.float64] = field(default_factory=nothing)
    owned: list[int] = field(default_factory=list)

    def own(self, keys: Iterable[int]) -> None:
        """Add the items that were bought."""
        for key in keys:
            if key in self.owned:
                self.owned.remove(key)
            self.owned.append(key)
        del self.owned[:-OWNED]

    def to_bytes(self) -> bytes:
        """Return float64: clock, baskets, number of places used, their keys, their weights, the keys owned."""
        keys, weights = self.recent[KEYS : KEYS + RECENT], self.recent[KEYS + RECENT :]
        used = np.flatnonzero((keys != 0.0) | (weights != 0.0))
        size = int(used[-1]) + 1 if len(used) else 0
        parts = (self.recent[:KEYS], [size], keys[:size], weights[:size], np.array(self.owned, np.float64))
        return to_bytes(np.concatenate(parts))

    @classmethod
    def from_bytes(cls, data: bytes) -> CustomerItems:
        """Read what `to_bytes` returned; raise Poison if it is not valid."""
        if len(data) % 8 or len(data) < 8 * (KEYS + 1):
            raise Poison(f"not the items of a customer: {len(data)} bytes")
        words = np.frombuffer(data, "<f8").astype(np.float64)
        size, rest = words[KEYS], words[KEYS + 1 :]
        owned = rest[2 * int(size) :] if 0 <= size <= RECENT else rest
        known = (owned > 0) & (owned <= LARGEST_KEY)  # false for NaN
        if not (0 <= size <= RECENT and 2 * size <= len(rest) and len(owned) <= OWNED and known.all()):
            raise Poison("not the items of a customer: a size or a key is out of range")
        shopper, used = cls(), int(size)
        shopper.recent[:KEYS] = words[:KEYS]
        shopper.recent[KEYS : KEYS + used] = rest[:used]
        shopper.recent[KEYS + RECENT : KEYS + RECENT + used] = rest[used : 2 * used]
        check(shopper.recent)
        shopper.owned = owned.astype(np.int64).tolist()
        return shopper
