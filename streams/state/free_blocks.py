"""Free blocks of packed rows: a chain for each length, and gaps, which are joined neighbours."""

from __future__ import annotations

from typing import Any

from streams.kernels import inlined, inner, kernel

from .packing import (
    packed_words,
)
from .store import (
    BLOCKS,
    FREE_WORDS,
    GAP,
    GAP_END,
    GAPS,
    TOP,
    Store,
    ask_packed,
)

LEAST_GAP = 16  # words


@inlined
def release(store: Store, at: int) -> None:
    """Free the block at `at`."""
    size = packed_words(store.cold, at, store.bits.shape[1])
    store.counters[FREE_WORDS] += size
    _chain(store, at, size, len(store.heads))


@inlined
def _chain(store: Store, at: int, size: int, gap: int) -> None:
    """Enter a free block; one of `gap` words or more becomes a gap, which holds its length and serves any rows."""
    store.counters[BLOCKS] += 1
    if size < gap:
        store.cold[at] = store.heads[size]
        store.heads[size] = at
    else:
        store.cold[at] = store.counters[GAPS]
        store.cold[at + 1] = size
        store.counters[GAPS] = at


@inlined
def take_block(store: Store, size: int) -> Any:
    """Take a block of `size` words; `cold` has room for it."""
    at = store.heads[size]
    if at >= 0:
        following = store.cold[at]
        store.heads[size] = following
        store.counters[BLOCKS] -= 1
        store.counters[FREE_WORDS] -= size
        ask_packed(store, following, size)  # prefetch for the next row of that length
        return at
    return _new_block(store, size)


@inner
def _new_block(store: Store, size: int) -> int:
    """Take a block from a gap, or else from the end."""
    counters = store.counters
    while counters[GAP_END] - counters[GAP] < size:
        _leave_gap(store)
        at = counters[GAPS]
        if at < 0:
            break
        counters[GAPS] = store.cold[at]
        counters[GAP] = at
        counters[GAP_END] = at + store.cold[at + 1]
        counters[BLOCKS] -= 1
    if counters[GAP_END] > counters[GAP]:
        at = counters[GAP]
        counters[GAP] = at + size
        counters[FREE_WORDS] -= size
    else:
        at = counters[TOP]
        counters[TOP] = at + size
    return int(at)


@inlined
def _leave_gap(store: Store) -> None:
    """Enter the rest of the gap that is being filled as a free block."""
    at = store.counters[GAP]
    left = store.counters[GAP_END] - at
    if left > 0:
        _chain(store, at, left, len(store.heads))
    store.counters[GAP] = 0
    store.counters[GAP_END] = 0


@kernel
def free_blocks(store: Store, ahead: Any, lengths: Any, blocks: Any) -> None:
    """List all free blocks, unordered, in `blocks: int64[counters[BLOCKS]]` as place * len(heads) + length.

    The length is 0 for a gap, which holds its own. `ahead: int64[len(heads)]` holds where each chain begins, that of
    the gaps at 0 (-1 = none); `lengths: int64[.]` holds the lengths that have a chain; both are overwritten. Call
    `leave_gap` before. It follows all chains side by side, so that several cache misses overlap.
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
    """Stop filling the current gap; the next block that is taken begins another."""
    _leave_gap(store)


@kernel
def join_blocks(store: Store, blocks: Any) -> int:
    """Enter all free blocks again, neighbours joined to one; `blocks` are those of `free_blocks`, sorted.

    A free block at the end of the used words lowers `TOP` instead. Returns how many words all gaps have.
    """
    counters = store.counters
    heads = len(store.heads)
    gained = 0
    for length in range(heads):
        store.heads[length] = -1
    counters[GAPS] = -1
    counters[BLOCKS] = 0
    first = 0
    while first < len(blocks):
        start = blocks[first] // heads
        end = start
        while first < len(blocks) and blocks[first] // heads == end:
            length = blocks[first] % heads
            end += length if length > 0 else store.cold[end + 1]
            first += 1
        if end == counters[TOP]:
            counters[TOP] = start
            counters[FREE_WORDS] -= end - start
        else:
            _chain(store, start, end - start, LEAST_GAP)
            gained += end - start if end - start >= LEAST_GAP else 0
    return gained
