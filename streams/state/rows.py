"""The rows of one partition: those in use whole, the others packed. Neither is a Python object.

A row is 2 kB and mostly as when it was new. The rows that events reached lately stand whole in a bounded number of
places; every other one lies packed (`streams.state.packing`) in an array that grows in place, in a block of its own
length.
A pass asks for a row by its slot (`place_of`), which unpacks it when it has to; between passes `make_room` packs
rows that were not used for long, so that there are free places.

A block that is free is the next row's of that length. As lengths change, more and more of the array would be blocks
that no row wants: when it grows and a quarter of it is free, `make_room` joins neighbours to gaps, and rows are packed
into these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from streams.kernels.jit import LINE_BYTES, inlined, kernel, prefetch
from streams.kernels.memory import Stretched

from .key_index import grown
from .packing import (
    ID_WORDS,
    mask_words,
    pack_row,
    pack_values,
    packed_words,
    unpack_row,
    value_words,
    whole,
    word_at,
)

NEW = -1  # `where` of a slot without a row: it has the default one
COLD = -2  # `where` of a packed row is COLD - its place in `cold`
# `marks`: free places, words used of `cold`, the next place to look at; of `cold`, free words and blocks, the gap that
# is being filled and its end, and the first of the other gaps
FREE, TOP, HAND, SPARE, BLOCKS, GAP, GAP_END, GAPS = range(8)
LEAST_PLACES = 64
LINE = LINE_BYTES // 8  # words
USUAL_WORDS = 40  # of a packed row, its mask included: five lines
WHOLE_WORDS = 128  # of a whole row that are asked for: sixteen lines; what few events look at stands behind
SOON, NEXT = 16, 8  # rows between asking where a row is, asking for the row, and taking it
# What `cold` has grown by at least since neighbours were joined last: 8 words for each block that there was then, which
# took 0.1 microseconds, but not more than 16 MB; at first 1 MB.
JOINED_FROM_WORDS, JOINED_BLOCK_WORDS, JOINED_BY_WORDS = 1 << 17, 8, 1 << 21
LEAST_GAP = 16  # words
FEWER = 256  # places given up at a time: a few milliseconds where the rows in them are in no cache
TURN = 1024  # rows packed at a time: about 0.3 ms, and what was packed last is filled while the caches still hold it


class Store(NamedTuple):
    """The arrays, as kernels take them.

    `rows: float64[p, words]` (`bits`, `floats`: the same as int64 and float32) hold whole rows, `owner: int64[p]` the
    slot of each (-1 = free), `used: uint8[p]` whether it was asked for since the hand passed, `free: int64[p]` a stack
    of free places. `where: int64[c]` is a slot's place, or NEW, or COLD - a place in `cold: int64[:]`.
    `heads: int64[.]` begin the chains of free blocks of each length (-1 = none); `default: int64[1, words]`.
    `kept: int64[c]`: 1 + the place in `cold` of a row as it stood before it changed again, 0 = none (`keep_row`).
    """

    rows: Any
    bits: Any
    floats: Any
    where: Any
    owner: Any
    used: Any
    free: Any
    cold: Any
    heads: Any
    marks: Any
    kept: Any
    default: Any
    scratch: Any


@inlined
def ask_whole(store: Store, place: int) -> None:
    """Prefetch the first words of a whole row."""
    words = store.bits.shape[1]
    first = place * words
    for word in range(first, first + min(words, WHOLE_WORDS), LINE):
        prefetch(store.bits, word)


@inlined
def ask_packed(store: Store, at: int, words: int) -> None:
    """Prefetch `words` of the packed row at `at`."""
    for word in range(at, at + words, LINE):
        prefetch(store.cold, word)


@inlined
def ask_row(store: Store, slot: int) -> None:
    """Prefetch the slot's row, wherever it is; `where[slot]` was prefetched before."""
    place = store.where[slot]
    if place >= 0:
        ask_whole(store, place)
    elif place != NEW:
        ask_packed(store, COLD - place, USUAL_WORDS)


@inlined
def ask_values(store: Store, slots: Any, i: int) -> None:
    """Before `slots[i]` is taken: prefetch what changelog values of slots to come are made of, and where that is."""
    if i + SOON < len(slots):
        prefetch(store.where, slots[i + SOON])
        prefetch(store.kept, slots[i + SOON])
    if i + NEXT < len(slots):
        kept = store.kept[slots[i + NEXT]]
        if kept > 0:
            ask_packed(store, kept - 1, USUAL_WORDS)
        else:
            ask_row(store, slots[i + NEXT])


@inlined
def _release(store: Store, at: int) -> None:
    """The block at `at` is free."""
    size = packed_words(store.cold, at, store.bits.shape[1])
    store.marks[SPARE] += size
    _chain(store, at, size, len(store.heads))


@inlined
def _chain(store: Store, at: int, size: int, gap: int) -> None:
    """Enter a free block; one of `gap` words or more is a gap for any rows, and says how long it is."""
    store.marks[BLOCKS] += 1
    if size < gap:
        store.cold[at] = store.heads[size]
        store.heads[size] = at
    else:
        store.cold[at] = store.marks[GAPS]
        store.cold[at + 1] = size
        store.marks[GAPS] = at


@inlined
def _block(store: Store, size: int) -> Any:
    """A block of `size` words; `cold` has room for it."""
    at = store.heads[size]
    if at >= 0:
        following = store.cold[at]
        store.heads[size] = following
        store.marks[BLOCKS] -= 1
        store.marks[SPARE] -= size
        ask_packed(store, following, size)  # for the next row of that length
        return at
    return _new_block(store, size)


@kernel
def _new_block(store: Store, size: int) -> int:
    """A block from a gap, or else from the end."""
    marks = store.marks
    while marks[GAP_END] - marks[GAP] < size:
        _leave_gap(store)
        at = marks[GAPS]
        if at < 0:
            break
        marks[GAPS] = store.cold[at]
        marks[GAP] = at
        marks[GAP_END] = at + store.cold[at + 1]
        marks[BLOCKS] -= 1
    if marks[GAP_END] > marks[GAP]:
        at = marks[GAP]
        marks[GAP] = at + size
        marks[SPARE] -= size
    else:
        at = marks[TOP]
        marks[TOP] = at + size
    return int(at)


@inlined
def _leave_gap(store: Store) -> None:
    """What is left of the gap that is being filled is a block like others."""
    at = store.marks[GAP]
    left = store.marks[GAP_END] - at
    if left > 0:
        _chain(store, at, left, len(store.heads))
    store.marks[GAP] = 0
    store.marks[GAP_END] = 0


@kernel
def free_blocks(store: Store, ahead: Any, lengths: Any, blocks: Any) -> None:
    """All free blocks, in no order, as place * len(heads) + length (0 of a gap, which says its own).

    `ahead`: int64[len(heads)], where each chain begins, at 0 that of the gaps (-1 = none); `lengths`: int64[.], those
    that have one; both are used up. `blocks`: int64[marks[BLOCKS]]. No gap is being filled (`leave_gap`). The chains
    are followed side by side, as each block of a chain is waited for: several at a time.
    """
    found = 0
    chains = len(lengths)
    while chains > 0:
        going = 0
        for k in range(chains):
            length = lengths[k]
            block = ahead[length]
            blocks[found] = block * len(store.heads) + length
            found += 1
            block = store.cold[block]
            ahead[length] = block
            if block >= 0:
                lengths[going] = length
                going += 1
        chains = going


@kernel
def leave_gap(store: Store) -> None:
    """Fill no gap until the next block is asked for."""
    _leave_gap(store)


@kernel
def join_blocks(store: Store, blocks: Any) -> int:
    """Enter all free blocks anew, neighbours as one; `blocks` as `free_blocks` gave them, sorted.

    What is free at the end of what is used is not used any more. Returns the words of all gaps.
    """
    marks = store.marks
    heads = len(store.heads)
    gained = 0
    for length in range(heads):
        store.heads[length] = -1
    marks[GAPS] = -1
    marks[BLOCKS] = 0
    first = 0
    while first < len(blocks):
        start = blocks[first] // heads
        end = start
        while first < len(blocks) and blocks[first] // heads == end:
            length = blocks[first] % heads
            end += length if length > 0 else store.cold[end + 1]
            first += 1
        if end == marks[TOP]:
            marks[TOP] = start
            marks[SPARE] -= end - start
        else:
            _chain(store, start, end - start, LEAST_GAP)
            gained += end - start if end - start >= LEAST_GAP else 0
    return gained


@kernel
def fetch(store: Store, slot: int) -> int:
    """Give a slot whose row is not whole a place; -1 when none is free."""
    if store.marks[FREE] == 0:
        return -1
    store.marks[FREE] -= 1
    place = store.free[store.marks[FREE]]
    at = store.where[slot]
    if at == NEW:
        for w in range(store.bits.shape[1]):
            store.bits[place, w] = store.default[0, w]
    else:
        at = COLD - at
        unpack_row(store.cold, at, store.default, store.bits, place)
        _release(store, at)
    store.where[slot] = place
    store.owner[place] = slot
    return int(place)


@inlined
def place_of(store: Store, slot: int) -> Any:
    """Where the slot's row stands whole, -1 when no place is free (`Rows.make_room` frees some)."""
    place = store.where[slot]
    if place < 0:
        place = fetch(store, slot)
    if place >= 0:
        store.used[place] = 1
    return place


@inlined
def has_room(store: Store) -> Any:
    """Whether one more row may be asked for and kept as it is (`Rows.make_room` makes room)."""
    return store.marks[FREE] > 0 and store.marks[TOP] + 2 * len(store.scratch) <= len(store.cold)


@inlined
def _packed(store: Store, place: int) -> Any:
    """Pack the whole row in `place` into a block; returns where in `cold`, which has room for it."""
    size = pack_row(store.bits, place, store.default, store.scratch, 0)
    at = _block(store, size)
    for k in range(size):
        store.cold[at + k] = store.scratch[k]
    return at


@kernel
def keep_row(store: Store, slot: int, place: int) -> None:
    """Keep a whole row as it is now, for `Rows.values`; `has_room` was asked before."""
    store.kept[slot] = _packed(store, place) + 1


@kernel
def evict(store: Store, count: int) -> None:
    """Pack `count` rows that were not used since the hand passed them (second chance). `cold` has room for them."""
    places = len(store.owner)
    hand = store.marks[HAND]
    while count > 0:
        place = hand
        hand += 1
        if hand == places:
            hand = 0
        coming = place + NEXT
        if coming < places and store.used[coming] == 0 and store.owner[coming] >= 0:
            ask_whole(store, coming)
            prefetch(store.where, store.owner[coming])
        slot = store.owner[place]
        if slot < 0:
            continue
        if store.used[place]:
            store.used[place] = 0
            continue
        store.where[slot] = COLD - _packed(store, place)
        store.owner[place] = -1
        store.free[store.marks[FREE]] = place
        store.marks[FREE] += 1
        count -= 1
    store.marks[HAND] = hand


@kernel
def evict_beyond(store: Store, first: int) -> None:
    """Pack the rows in places `first` and beyond, and let nobody have these. `cold` has room for them."""
    for place in range(first, len(store.owner)):
        slot = store.owner[place]
        if slot >= 0:
            store.where[slot] = COLD - _packed(store, place)
            store.owner[place] = -1
    free = 0
    for k in range(store.marks[FREE]):
        if store.free[k] < first:
            store.free[free] = store.free[k]
            free += 1
    store.marks[FREE] = free
    if store.marks[HAND] >= first:
        store.marks[HAND] = 0


@kernel
def put_values(store: Store, buf: Any, at: Any, size: Any, slots: Any) -> int:
    """Take the changelog values `buf[at[i] : at[i] + size[i]]` (uint8) for the rows of `slots`, in order.

    `cold` has room for all of them. Returns the first value that is not whole, of which nothing is taken, or -1.
    """
    words = store.bits.shape[1]
    for i in range(len(at)):
        if i + SOON < len(slots):
            prefetch(store.where, slots[i + SOON])
        if i + NEXT < len(slots):
            old = store.where[slots[i + NEXT]]
            if old < NEW:  # its block is free then
                ask_packed(store, COLD - old, USUAL_WORDS)
        start = at[i] + 8 * ID_WORDS
        length = size[i] - 8 * ID_WORDS
        if not whole(buf, start, length, words):
            return i
        slot = slots[i]
        _forget(store, slot)
        block = _block(store, length // 8)
        for k in range(length // 8):
            store.cold[block + k] = word_at(buf, start + 8 * k)
        store.where[slot] = COLD - block
    return -1


@inlined
def _forget(store: Store, slot: int) -> None:
    place = store.where[slot]
    if place >= 0:
        store.owner[place] = -1
        store.free[store.marks[FREE]] = place
        store.marks[FREE] += 1
    elif place != NEW:
        _release(store, COLD - place)
    store.where[slot] = NEW


@kernel
def forget_row(store: Store, slot: int) -> None:
    """The slot's row is the default one."""
    _forget(store, slot)


@inlined
def taken_row(store: Store, slot: int) -> Any:
    """Pack the slot's row into `store.scratch`; returns how many words.

    Of a row that was kept it is the row as it was then, which is not kept any longer.
    """
    place = store.where[slot]
    kept = store.kept[slot]
    if kept > 0 or place < NEW:
        at = kept - 1 if kept > 0 else COLD - place
        size = packed_words(store.cold, at, store.bits.shape[1])
        for k in range(size):
            store.scratch[k] = store.cold[at + k]
        if kept > 0:
            store.kept[slot] = 0
            _release(store, at)
        return size
    if place >= 0:
        return pack_row(store.bits, place, store.default, store.scratch, 0)
    return pack_row(store.default, 0, store.default, store.scratch, 0)


@kernel
def pack_slots(store: Store, slots: Any, layout_id: int, out: Any, ends: Any) -> int:
    """The rows of `slots` (`taken_row`) as changelog values end to end in `out: int64[:]`; `ends: int64[n]`, words."""
    p: Any = np.int64(0)
    for i in range(len(slots)):
        ask_values(store, slots, i)
        out[p] = layout_id
        p += ID_WORDS
        size = taken_row(store, slots[i])
        for k in range(size):
            out[p + k] = store.scratch[k]
        p += size
        ends[i] = p
    return int(p)


@inlined
def first_word(store: Store, slot: int) -> Any:
    """Word 0 of the slot's row as float64."""
    place = store.where[slot]
    if place >= 0:
        return store.rows[place, 0]
    if place == NEW:
        return store.default.view(np.float64)[0, 0]
    at = COLD - place
    word = store.default[0, 0]
    if store.cold[at] & 1:
        word ^= store.cold[at + (store.bits.shape[1] + 63) // 64]
    return np.int64(word).view(np.float64)


@inlined
def copy_row(store: Store, slot: int, bits: Any, row: int) -> None:
    """The slot's row into `bits[row]` (int64[., words]), wherever it is."""
    place = store.where[slot]
    if place < NEW:
        unpack_row(store.cold, COLD - place, store.default, bits, row)
        return
    for w in range(bits.shape[1]):
        bits[row, w] = store.bits[place, w] if place >= 0 else store.default[0, w]


@kernel
def copy_rows(store: Store, slots: Any, bits: Any) -> None:
    """The rows of `slots: int64[n]` into `bits: int64[n, words]`."""
    for i in range(len(slots)):
        if i + SOON < len(slots):
            prefetch(store.where, slots[i + SOON])
        if i + NEXT < len(slots):
            ask_row(store, slots[i + NEXT])
        copy_row(store, slots[i], bits, i)


class Rows:
    """Rows of `words` words by slot. `places` of them stand whole at least, and more while whole and packed ones take
    less than `rows_bytes` together: a few rows are all whole, of very many only those in use."""

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
        """The arrays as they are now; not to be kept, as `make_room` may replace them."""
        bits = self._whole.array[: len(self._owner) * self.words].reshape(-1, self.words)
        return Store(
            bits.view(np.float64), bits, bits.view(np.float32), self._where, self._owner, self._used, self._free,
            self._cold.array, self._heads, self._marks, self._kept, self._default, self._scratch,
        )  # fmt: skip

    def grow(self, slots: int) -> None:
        """Have room for so many slots."""
        if slots > len(self._where):
            known = len(self._where)
            self._where = grown(self._where, slots)
            self._where[known:] = NEW
            self._kept = grown(self._kept, slots)

    def make_room(self) -> None:
        """Have free places for the next rows that are asked for."""
        allowed = max(self._least, (self._rows_bytes - 8 * int(self._marks[TOP])) // (8 * self.words))
        places = len(self._owner)
        too_many = places - allowed - allowed // 16
        if too_many > 0:
            self._fewer(places - min(places - allowed, max(FEWER, too_many // 4)))
        elif self._marks[FREE] < TURN and places < allowed:
            self._more(min(allowed, 2 * places))
        wanted = min(TURN, len(self._owner) // 4)
        missing = max(0, wanted - int(self._marks[FREE]))
        if self._marks[TOP] > self._join_from and 4 * self._marks[SPARE] > self._marks[TOP]:
            self._join()
        self._reserve((missing + wanted) * len(self._scratch))
        if missing:
            evict(self.store, missing)

    def _join(self) -> None:
        """Make gaps of free blocks that lie side by side."""
        leave_gap(self.store)
        ahead = self._heads.copy()
        ahead[0] = self._marks[GAPS]  # no block is of no words
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
        """Take changelog values for the rows of `slots`; returns the first that is not whole, or -1."""
        self._reserve(int(size.sum()) // 8)
        return put_values(self.store, buf, at, size, slots)

    def put_whole(self, slots: Any, rows: Any) -> None:
        """Take whole rows (float64[n, words]) for `slots`."""
        out = np.empty(len(rows) * value_words(self.words), np.int64)
        ends = np.empty(len(rows), np.int64)
        used = pack_values(rows.view(np.int64), self._default, 0, out, ends)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        self.put(out[:used].view(np.uint8), 8 * starts, 8 * (ends - starts), slots)

    def forget(self, slot: int) -> None:
        """The slot's row is the default one."""
        forget_row(self.store, slot)

    def copy(self, slots: Any) -> Any:
        """The rows of `slots` (float64[n, words]), wherever they are."""
        found = np.empty((len(slots), self.words))
        copy_rows(self.store, slots, found.view(np.int64))
        return found

    def values(self, slots: Any, layout_id: int) -> tuple[Any, Any]:
        """The rows as changelog values end to end (int64[:]) and where each ends (int64[n], in words)."""
        out = np.empty(len(slots) * value_words(self.words), np.int64)
        ends = np.empty(len(slots), np.int64)
        used = pack_slots(self.store, slots, layout_id, out, ends)
        return out[:used], ends

    @property
    def nbytes(self) -> int:
        """Bytes that whole and packed rows take at most."""
        places = len(self._owner) - int(self._marks[FREE])
        return 8 * (places * self.words + int(self._marks[TOP]))
