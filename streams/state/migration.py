"""Moves rows of another layout to this one, a batch at a time, while unpacking them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from streams.kernels import kernel

from .packing import whole

GONE = -1  # in `Moves.target`: the word has no place in this layout


class Moves(NamedTuple):
    """How the words of one older layout move.

    `target: int64[old words]` is the new word that takes each old one, GONE for none. `was: int64[old words]` is the
    default row of the old layout, against which its words are packed; `base: int64[words]` that of this layout.
    `ring: int64[4]` describes a ring buffer (a count, then its values) whose size changed: its word and size in the old
    layout, its word and size in this one (word -1: there is none). The newest values stay, each at the place that its
    number gives.
    """

    target: Any
    was: Any
    base: Any
    ring: Any


@kernel
def move_rows(
    buf: Any, at: Any, size: Any, slots: Any, target: Any, was: Any, base: Any, ring: Any, held: Any, bits: Any
) -> int:  # fmt: skip
    """Unpack the values at `buf[at[i] : at[i] + size[i]]` (uint8) into `bits[slots[i]]` (int64[., words]), in order.

    They are packed as in `streams.state.packing`; their layout has `len(target)` words. `held: int64[old ring size]`
    is scratch. Returns the first malformed value, of which it writes nothing, or -1. It reads nothing outside a value.
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
            # no branch, as whether a word is present is hard to predict: read one in any case, and keep it or take 0
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
    """Call `move_rows` with scratch of the right size."""
    held = np.zeros(max(1, int(how.ring[1])), np.int64)
    return move_rows(buf, at, size, slots, how.target, how.was, how.base, how.ring, held, bits)


def runs(ids: Any) -> list[tuple[int, int]]:
    """Return (start, stop) of each run of equal neighbours in `ids: int64[n]`."""
    if not len(ids):
        return []
    cuts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
    return list(pairwise(cuts))
