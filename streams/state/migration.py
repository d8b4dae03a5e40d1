"""Rows of another layout, a batch at a time: packed values are unpacked and moved to this layout's words at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from streams.kernels import kernel

from .packing import whole

GONE = -1  # in `Moves.target`: the word has no place in this layout


class Moves(NamedTuple):
    """How the words of one older layout move.

    `target: int64[old words]`: the word that takes each, GONE for none. `was: int64[old words]`: a new row of the old
    layout, by which its words are packed; `base: int64[words]`: a new row of this one. `ring: int64[4]`: a count and as
    many values as it is large, whose size changed: its word and size there, its word and size here (a word of -1: there
    is none). The newest values stay, each where its number puts it.
    """

    target: Any
    was: Any
    base: Any
    ring: Any


@kernel
def move_rows(
    buf: Any, at: Any, size: Any, slots: Any, target: Any, was: Any, base: Any, ring: Any, held: Any, bits: Any
) -> int:  # fmt: skip
    """Unpack the values at `buf[at[i] : at[i] + size[i]]` (uint8), as `streams.state.packing` has them, into
    `bits[slots[i]]`
    (int64[., words]), in order; their layout has `len(target)` words. `held: int64[ring size there]` is scratch.

    Returns the first value that is not whole, of which nothing is written, or -1. Nothing outside a value is read.
    """
    words, old_words = bits.shape[1], len(target)
    masks = (old_words + 63) // 64
    for i in range(len(at)):
        head = at[i] + 8
        end = at[i] + size[i]
        p = head + 8 * masks
        if not whole(buf, head, end - head, old_words):
            return i
        row = slots[i]
        for w in range(words):
            bits[row, w] = base[w]
        count = np.int64(0)
        mask = np.int64(0)
        for k in range(old_words):
            if k % 64 == 0:
                mask = buf[head + k // 8 : head + k // 8 + 8].view(np.int64)[0]
            # whether a word is there is hard to foretell: it is read in any case, and is then kept or 0
            q = min(p, end - 8)
            there = (mask >> np.int64(k % 64)) & np.int64(1)
            word = (buf[q : q + 8].view(np.int64)[0] & -there) ^ was[k]
            if target[k] >= 0:
                bits[row, target[k]] = word
            elif 0 < k - ring[0] <= ring[1]:
                held[k - ring[0] - 1] = word
            if k == ring[0]:
                count = np.int64(np.int64(word).view(np.float64))
            p += 8 * there
        kept = min(count, ring[1], ring[3])
        for n in range(count - kept, count):
            bits[row, ring[2] + 1 + n % ring[3]] = held[n % ring[1]]
    return -1


def move(buf: Any, at: Any, size: Any, slots: Any, how: Moves, bits: Any) -> int:
    """`move_rows`, with its scratch."""
    held = np.zeros(max(1, int(how.ring[1])), np.int64)
    return move_rows(buf, at, size, slots, how.target, how.was, how.base, how.ring, held, bits)


def runs(ids: Any) -> list[tuple[int, int]]:
    """Neighbours that are alike: (start, stop) of each run of `ids: int64[n]`."""
    if not len(ids):
        return []
    cuts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
    return list(pairwise(cuts))
