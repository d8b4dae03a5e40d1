"""The arrays of a partition's rows, as kernels take them, and the prefetching of their cache lines."""

from __future__ import annotations

from typing import Any, NamedTuple

from streams.kernels import LINE_BYTES, inlined, prefetch

NEW = -1  # `where` of a slot whose row is the default row

PACKED = -2  # `where` of a packed row is PACKED - its place in `cold`

# `counters`: free places, used words of `cold`, the clock hand (next place to look at); of `cold`: free words, free
# blocks, the gap that is being filled, its end, and the first of the other gaps
FREE, TOP, CLOCK_HAND, FREE_WORDS, BLOCKS, GAP, GAP_END, GAPS = range(8)

LINE = LINE_BYTES // 8  # words

USUAL_WORDS = 40  # of a packed row, its mask included: five lines

WHOLE_WORDS = 128  # of a whole row that are prefetched: sixteen lines; few events read the words behind them

SOON, NEXT = 16, 8  # how many rows ahead a loop prefetches where a row is, and the row itself


class Store(NamedTuple):
    """The arrays, as kernels take them.

    `rows: float64[p, words]` (`bits`, `floats`: the same as int64 and float32) hold whole rows, `owner: int64[p]` the
    slot of each (-1 = free), `used: uint8[p]` whether a pass asked for it since the clock hand passed, `free: int64[p]`
    a stack of free places. `where: int64[c]` is a slot's place, or NEW, or PACKED - a place in `cold: int64[:]`.
    `heads: int64[.]` begin the chains of free blocks of each length (-1 = none); `default: int64[1, words]`.
    `kept: int64[c]` is 1 + the place in `cold` of a packed copy from before the row changed again, 0 = none
    (`keep_row`).
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
    counters: Any
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
    """Prefetch the slot's row, whole or packed; prefetch `where[slot]` some rows before."""
    place = store.where[slot]
    if place >= 0:
        ask_whole(store, place)
    elif place != NEW:
        ask_packed(store, PACKED - place, USUAL_WORDS)


@inlined
def ask_values(store: Store, slots: Any, i: int) -> None:
    """Prefetch the rows behind `slots[i]` that changelog values are made of, and further ahead where these rows are."""
    if i + SOON < len(slots):
        prefetch(store.where, slots[i + SOON])
        prefetch(store.kept, slots[i + SOON])
    if i + NEXT < len(slots):
        kept = store.kept[slots[i + NEXT]]
        if kept > 0:
            ask_packed(store, kept - 1, USUAL_WORDS)
        else:
            ask_row(store, slots[i + NEXT])
