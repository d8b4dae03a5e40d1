"""The rows of one partition: rows in use are whole, all others packed. No row is a Python object.

A row takes 2 kB, most of it as in a new row. The rows that events reached lately stand whole in a bounded number of
places; every other row is packed (`streams.state.packing`) into a block of its own length, in an array that grows in
place. A pass asks for a row by its slot (`place_of`), which unpacks it if needed; between passes `make_room` packs rows
that were not used for long, so that places are free.

The next packed row of a free block's length takes the block. As lengths change, free blocks that no row fits would
pile up: when the array grows and a quarter of it is free, `make_room` joins neighbouring free blocks to gaps, into
which rows of any length are packed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels import Stretched, grown

from .free_blocks import free_blocks, join_blocks, leave_gap
from .packing import (
    mask_words,
    pack_values,
    value_words,
)
from .row_kernels import copy_rows, evict, evict_beyond, forget_row, pack_slots, put_values
from .store import (
    BLOCKS,
    FREE,
    FREE_WORDS,
    GAPS,
    NEW,
    TOP,
    Store,
)

LEAST_PLACES = 64
# `cold` must grow by at least this between two joins: 8 words for each free block of the last join (each took 0.1
# microseconds), but at most 16 MB. The first join comes at 1 MB.
JOINED_FROM_WORDS, JOINED_BLOCK_WORDS, JOINED_BY_WORDS = 1 << 17, 8, 1 << 21
FEWER = 256  # places given up at a time: a few milliseconds when no cache holds their rows
TURN = 1024  # rows packed at a time: about 0.3 ms, and their places are refilled while the caches still hold them


class Rows:
    """Rows of `words` words by slot.

    At least `places` rows may be whole, and more while whole and packed rows together take less than `rows_bytes`: few
    rows are all whole; of very many only those in use are.
    """

    def __init__(self, default_row: Any, places: int, rows_bytes: int = 0) -> None:
        words = len(default_row)
        places = max(LEAST_PLACES, places)
        self.words = words
        self._least, self._rows_bytes = places, rows_bytes
        self._whole = Stretched(places * words, reserved_bytes=max(8 * places * words, rows_bytes))
        self._where = np.full(1024, NEW, np.int64)
        self._kept = np.zeros(1024, np.int64)
        self._owner = np.full(places, -1, np.int64)
        self._used = np.zeros(places, np.uint8)
        self._free = np.arange(places)[::-1].copy()
        self._cold = Stretched(1 << 12)
        self._heads = np.full(mask_words(words) + words + 1, -1, np.int64)
        self._marks = np.zeros(GAPS + 1, np.int64)
        self._marks[[FREE, GAPS]] = places, -1
        self._join_from = JOINED_FROM_WORDS
        self._default = np.array(default_row).view(np.int64).reshape(1, -1)
        self._scratch = np.empty(value_words(words), np.int64)

    @property
    def store(self) -> Store:
        """The arrays as they are now. Do not keep them: `make_room` may replace them."""
        bits = self._whole.array[: len(self._owner) * self.words].reshape(-1, self.words)
        return Store(
            bits.view(np.float64), bits, bits.view(np.float32), self._where, self._owner, self._used, self._free,
            self._cold.array, self._heads, self._marks, self._kept, self._default, self._scratch,
        )  # fmt: skip

    def grow(self, slots: int) -> None:
        """Make room for `slots` slots."""
        if slots > len(self._where):
            known = len(self._where)
            self._where = grown(self._where, slots)
            self._where[known:] = NEW
            self._kept = grown(self._kept, slots)

    def make_room(self) -> None:
        """Free places for the next rows that a pass asks for."""
        allowed = max(self._least, (self._rows_bytes - 8 * int(self._marks[TOP])) // (8 * self.words))
        places = len(self._owner)
        too_many = places - allowed - allowed // 16
        if too_many > 0:
            self._fewer(places - min(places - allowed, max(FEWER, too_many // 4)))
        elif self._marks[FREE] < TURN and places < allowed:
            self._more(min(allowed, 2 * places))
        wanted = min(TURN, len(self._owner) // 4)
        missing = max(0, wanted - int(self._marks[FREE]))
        if self._marks[TOP] > self._join_from and 4 * self._marks[FREE_WORDS] > self._marks[TOP]:
            self._join()
        self._reserve((missing + wanted) * len(self._scratch))
        if missing:
            evict(self.store, missing)

    def _join(self) -> None:
        """Join neighbouring free blocks to gaps."""
        leave_gap(self.store)
        ahead = self._heads.copy()
        ahead[0] = self._marks[GAPS]  # index 0 is free for it, as no block has 0 words
        blocks = np.empty(int(self._marks[BLOCKS]), np.int64)
        free_blocks(self.store, ahead, np.flatnonzero(ahead >= 0), blocks)
        blocks.sort()
        gained = join_blocks(self.store, blocks)
        top = int(self._marks[TOP])
        worth_it = gained > top // 16
        paid = min(JOINED_BLOCK_WORDS * len(blocks), JOINED_BY_WORDS)
        self._join_from = top + max(top // (256 if worth_it else 16), paid)

    def _more(self, places: int) -> None:
        known, free = len(self._owner), int(self._marks[FREE])
        self._whole.stretch(places * self.words)
        self._owner, self._used = grown(self._owner, places), grown(self._used, places)
        self._owner[known:] = -1
        self._free = grown(self._free, places)
        self._free[free : free + places - known] = np.arange(places - 1, known - 1, -1)
        self._marks[FREE] = free + places - known

    def _fewer(self, places: int) -> None:
        self._reserve((len(self._owner) - places) * len(self._scratch))
        evict_beyond(self.store, places)
        self._owner, self._used, self._free = self._owner[:places], self._used[:places], self._free[:places]
        self._whole.shrink(places * self.words)

    def _reserve(self, words: int) -> None:
        needed = int(self._marks[TOP]) + words
        if needed > len(self._cold.array):
            self._cold.stretch(needed)

    def put(self, buf: Any, at: Any, size: Any, slots: Any) -> int:
        """Store changelog values as the rows of `slots`; returns the first malformed one, or -1."""
        self._reserve(int(size.sum()) // 8)
        return put_values(self.store, buf, at, size, slots)

    def put_whole(self, slots: Any, rows: Any) -> None:
        """Store whole rows (float64[n, words]) for `slots`."""
        out = np.empty(len(rows) * value_words(self.words), np.int64)
        ends = np.empty(len(rows), np.int64)
        used = pack_values(rows.view(np.int64), self._default, 0, out, ends)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        self.put(out[:used].view(np.uint8), 8 * starts, 8 * (ends - starts), slots)

    def forget(self, slot: int) -> None:
        """Set the slot's row back to the default row."""
        forget_row(self.store, slot)

    def copy(self, slots: Any) -> Any:
        """Return copies of the rows of `slots` (float64[n, words]), whole or packed."""
        found = np.empty((len(slots), self.words))
        copy_rows(self.store, slots, found.view(np.int64))
        return found

    def values(self, slots: Any, layout_id: int) -> tuple[Any, Any]:
        """Pack rows as changelog values end to end (int64[:]); also returns where each ends (int64[n], in words)."""
        out = np.empty(len(slots) * value_words(self.words), np.int64)
        ends = np.empty(len(slots), np.int64)
        used = pack_slots(self.store, slots, layout_id, out, ends)
        return out[:used], ends

    @property
    def nbytes(self) -> int:
        """The most bytes that whole and packed rows take."""
        places = len(self._owner) - int(self._marks[FREE])
        return 8 * (places * self.words + int(self._marks[TOP]))
