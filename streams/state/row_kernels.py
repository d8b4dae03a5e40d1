"""Kernels over the rows of a partition: find, unpack, pack, keep, forget and copy them."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels import inlined, inner, kernel, prefetch

from .free_blocks import release, take_block
from .packing import (
    ID_WORDS,
    pack_row,
    packed_words,
    unpack_row,
    whole,
    word_at,
)
from .store import (
    CLOCK_HAND,
    FREE,
    NEW,
    NEXT,
    PACKED,
    SOON,
    TOP,
    USUAL_WORDS,
    Store,
    ask_packed,
    ask_row,
    ask_values,
    ask_whole,
)


@inner
def fetch(store: Store, slot: int) -> int:
    """Unpack a slot's row into a free place and return the place; -1 when none is free."""
    if store.counters[FREE] == 0:
        return -1
    store.counters[FREE] -= 1
    place = store.free[store.counters[FREE]]
    at = store.where[slot]
    if at == NEW:
        for w in range(store.bits.shape[1]):
            store.bits[place, w] = store.default[0, w]
    else:
        at = PACKED - at
        unpack_row(store.cold, at, store.default, store.bits, place)
        release(store, at)
    store.where[slot] = place
    store.owner[place] = slot
    return int(place)


@inlined
def place_of(store: Store, slot: int) -> Any:
    """Return the place of the slot's whole row, unpacking it if needed; -1 when none is free (`Rows.make_room`)."""
    place = store.where[slot]
    if place < 0:
        place = fetch(store, slot)
    if place >= 0:
        store.used[place] = 1
    return place


@inlined
def has_room(store: Store) -> Any:
    """Whether there is room to unpack one more row and to keep it as it is (`Rows.make_room` makes room)."""
    return store.counters[FREE] > 0 and store.counters[TOP] + 2 * len(store.scratch) <= len(store.cold)


@inlined
def _packed(store: Store, place: int) -> Any:
    """Pack the whole row in `place` into a block of `cold`, which has room; returns the block's start."""
    size = pack_row(store.bits, place, store.default, store.scratch, 0)
    at = take_block(store, size)
    for k in range(size):
        store.cold[at + k] = store.scratch[k]
    return at


@kernel
def keep_row(store: Store, slot: int, place: int) -> None:
    """Keep a packed copy of a whole row as it is now, for `Rows.values`. Call only when `has_room`."""
    store.kept[slot] = _packed(store, place) + 1


@kernel
def evict(store: Store, count: int) -> None:
    """Pack `count` rows unused since the clock hand passed them (second chance). `cold` has room for them."""
    places = len(store.owner)
    hand = store.counters[CLOCK_HAND]
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
        store.where[slot] = PACKED - _packed(store, place)
        store.owner[place] = -1
        store.free[store.counters[FREE]] = place
        store.counters[FREE] += 1
        count -= 1
    store.counters[CLOCK_HAND] = hand


@kernel
def evict_beyond(store: Store, first: int) -> None:
    """Pack the rows in places `first` and beyond, and remove these places. `cold` has room for the rows."""
    for place in range(first, len(store.owner)):
        slot = store.owner[place]
        if slot >= 0:
            store.where[slot] = PACKED - _packed(store, place)
            store.owner[place] = -1
    free = 0
    for k in range(store.counters[FREE]):
        if store.free[k] < first:
            store.free[free] = store.free[k]
            free += 1
    store.counters[FREE] = free
    if store.counters[CLOCK_HAND] >= first:
        store.counters[CLOCK_HAND] = 0


@kernel
def put_values(store: Store, buf: Any, at: Any, size: Any, slots: Any) -> int:
    """Store the changelog values `buf[at[i] : at[i] + size[i]]` (uint8) as the rows of `slots`, in order.

    `cold` has room for all of them. Returns the first malformed value, of which it stores nothing, or -1.
    """
    words = store.bits.shape[1]
    for i in range(len(at)):
        if i + SOON < len(slots):
            prefetch(store.where, slots[i + SOON])
        if i + NEXT < len(slots):
            old = store.where[slots[i + NEXT]]
            if old < NEW:  # prefetch the block, which is freed below
                ask_packed(store, PACKED - old, USUAL_WORDS)
        start = at[i] + 8 * ID_WORDS
        length = size[i] - 8 * ID_WORDS
        if not whole(buf, start, length, words):
            return i
        slot = slots[i]
        _forget(store, slot)
        block = take_block(store, length // 8)
        for k in range(length // 8):
            store.cold[block + k] = word_at(buf, start + 8 * k)
        store.where[slot] = PACKED - block
    return -1


@inlined
def _forget(store: Store, slot: int) -> None:
    place = store.where[slot]
    if place >= 0:
        store.owner[place] = -1
        store.free[store.counters[FREE]] = place
        store.counters[FREE] += 1
    elif place != NEW:
        release(store, PACKED - place)
    store.where[slot] = NEW


@kernel
def forget_row(store: Store, slot: int) -> None:
    """Set the slot's row back to the default row."""
    _forget(store, slot)


@inlined
def taken_row(store: Store, slot: int) -> Any:
    """Pack the slot's row into `store.scratch`; returns how many words.

    For a kept row it takes the kept copy and releases it.
    """
    place = store.where[slot]
    kept = store.kept[slot]
    if kept > 0 or place < NEW:
        at = kept - 1 if kept > 0 else PACKED - place
        size = packed_words(store.cold, at, store.bits.shape[1])
        for k in range(size):
            store.scratch[k] = store.cold[at + k]
        if kept > 0:
            store.kept[slot] = 0
            release(store, at)
        return size
    if place >= 0:
        return pack_row(store.bits, place, store.default, store.scratch, 0)
    return pack_row(store.default, 0, store.default, store.scratch, 0)


@kernel
def pack_slots(store: Store, slots: Any, layout_id: int, out: Any, ends: Any) -> int:
    """Pack the rows of `slots` (`taken_row`) as changelog values into `out: int64[:]`; `ends: int64[n]`, in words."""
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
    """Return word 0 of the slot's row as float64."""
    place = store.where[slot]
    if place >= 0:
        return store.rows[place, 0]
    if place == NEW:
        return store.default.view(np.float64)[0, 0]
    at = PACKED - place
    word = store.default[0, 0]
    if store.cold[at] & 1:
        word ^= store.cold[at + (store.bits.shape[1] + 63) // 64]
    return np.int64(word).view(np.float64)


@inlined
def copy_row(store: Store, slot: int, bits: Any, row: int) -> None:
    """Copy the slot's row, whole or packed, into `bits[row]` (int64[., words])."""
    place = store.where[slot]
    if place < NEW:
        unpack_row(store.cold, PACKED - place, store.default, bits, row)
        return
    for w in range(bits.shape[1]):
        bits[row, w] = store.bits[place, w] if place >= 0 else store.default[0, w]


@kernel
def copy_rows(store: Store, slots: Any, bits: Any) -> None:
    """Copy the rows of `slots: int64[n]` into `bits: int64[n, words]`."""
    for i in range(len(slots)):
        if i + SOON < len(slots):
            prefetch(store.where, slots[i + SOON])
        if i + NEXT < len(slots):
            ask_row(store, slots[i + NEXT])
        copy_row(store, slots[i], bits, i)
