"""Rows as changelog values: the layout's id, a mask of the words that are not zero, and those words.

Most words of most rows are zero, and what a row weighs is paid four times: by the producer, by the broker, which
looks into every batch, by its disk and by whoever restores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernel import kernel


def mask_words(words: int) -> int:
    """Words that the mask of a row of `words` takes."""
    return (words + 63) // 64


@kernel
def pack_rows(bits: Any, slots: Any, layout_id: int, out: Any, ends: Any) -> int:
    """Pack `bits[slots]` (int64[., words]) end to end into `out: int64[:]`, which has room for whole rows.

    `ends: int64[n]`: where each value ends, in words. Returns the last one.
    """
    words = bits.shape[1]
    p: Any = np.int64(0)
    for i in range(len(slots)):
        row = slots[i]
        out[p] = layout_id
        head = p + 1
        p = head + (words + 63) // 64
        for start in range(0, words, 64):
            mask = np.int64(0)
            for w in range(start, min(words, start + 64)):
                word = bits[row, w]
                out[p] = word
                there = np.int64(word != 0)
                mask |= there << np.int64(w - start)
                p += there
            out[head + start // 64] = mask
        ends[i] = p
    return int(p)


@kernel
def unpack_rows(buf: Any, at: Any, size: Any, slots: Any, bits: Any) -> int:
    """Unpack the values at `buf[at[i] : at[i] + size[i]]` (uint8) into `bits[slots[i]]` (int64[., words]), in order.

    Returns the first value that is not whole, of which nothing is written, or -1. Nothing outside a value is read.
    """
    words = bits.shape[1]
    masks = (words + 63) // 64
    for i in range(len(at)):
        head = at[i] + 8
        p = head + 8 * masks
        end = at[i] + size[i]
        if p > end:
            return i
        there = np.int64(0)
        for m in range(masks):
            mask = buf[head + 8 * m : head + 8 * m + 8].view(np.int64)[0]
            for k in range(64):
                if (mask >> np.int64(k)) & 1:
                    there += 1
                    if 64 * m + k >= words:
                        return i
        if p + 8 * there != end:
            return i
        row = slots[i]
        for w in range(words):
            mask = buf[head + 8 * (w // 64) : head + 8 * (w // 64) + 8].view(np.int64)[0]
            if (mask >> np.int64(w % 64)) & 1:
                bits[row, w] = buf[p : p + 8].view(np.int64)[0]
                p += 8
            else:
                bits[row, w] = 0
    return -1


def packed(bits: Any, slots: Any, layout_id: int) -> tuple[Any, Any]:
    """`bits[slots]` (int64[., words]) as values end to end (int64[:]) and where each ends (int64[n], in words)."""
    words = bits.shape[1]
    out = np.empty(len(slots) * (1 + mask_words(words) + words) + 1, np.int64)
    ends = np.empty(len(slots), np.int64)
    used = pack_rows(bits, slots, layout_id, out, ends)
    return out[:used], ends
