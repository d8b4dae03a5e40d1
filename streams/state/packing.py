"""Packs rows: a mask of the words that differ from the default row, and those words.

Most words of most rows have their default, and the size of a row costs many times: in memory while a key is silent, in
the producer, in the broker, which checks every batch, on its disk and in a restore. A changelog value is the layout's
id and the packed row. A word is stored as its exclusive or with the default row's (`default: int64[1, words]`), so a
missing word and one with its default are both 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels import bits_set, inlined, kernel

ID_WORDS = 1  # the layout's id, before the packed row in a changelog value


def mask_words(words: int) -> int:
    """Return how many words the mask of a row of `words` takes."""
    return (words + 63) // 64


@inlined
def pack_row(bits: Any, row: int, default: Any, out: Any, p: int) -> Any:
    """Pack `bits[row]` (int64[., words]) into `out: int64[:]` from `p` on. Returns the end."""
    words = bits.shape[1]
    head = p
    p += (words + 63) // 64
    for start in range(0, words, 64):
        mask = np.int64(0)
        for w in range(start, min(words, start + 64)):  # LLVM vectorises this
            mask |= np.int64(bits[row, w] != default[0, w]) << np.int64(w - start)
        out[head + start // 64] = mask
        while mask != 0:
            lowest = mask & -mask
            w = start + bits_set(lowest - 1)
            out[p] = bits[row, w] ^ default[0, w]
            p += 1
            mask ^= lowest
    return p


@inlined
def unpack_row(packed: Any, p: int, default: Any, bits: Any, row: int) -> None:
    """Unpack the row at `packed[p:]` (int64), which must be well formed, into `bits[row]`."""
    words = bits.shape[1]
    for w in range(words):
        bits[row, w] = default[0, w]
    head = p
    p += (words + 63) // 64
    for start in range(0, words, 64):
        mask = packed[head + start // 64]
        while mask != 0:
            lowest = mask & -mask
            bits[row, start + bits_set(lowest - 1)] ^= packed[p]
            p += 1
            mask ^= lowest


@inlined
def packed_words(packed: Any, p: int, words: int) -> Any:
    """Return how many words the packed row at `packed[p:]` takes, its mask included."""
    size = np.int64((words + 63) // 64)
    for m in range((words + 63) // 64):
        size += bits_set(packed[p + m])
    return size


@inlined
def word_at(buf: Any, at: int) -> Any:
    """Return the int64 at `buf[at : at + 8]` (uint8)."""
    return buf[at : at + 8].view(np.int64)[0]


@inlined
def whole(buf: Any, at: int, size: int, words: int) -> bool:
    """Whether `buf[at : at + size]` (uint8) is exactly one packed row of `words` words."""
    masks = (words + 63) // 64
    if size < 8 * masks:
        return False
    there = np.int64(0)
    for m in range(masks):
        mask = word_at(buf, at + 8 * m)
        left = words - 64 * m
        if left < 64 and (mask >> np.int64(left)) != 0:
            return False
        there += bits_set(mask)
    return bool(size == 8 * (masks + there))


@kernel
def unpack_values(buf: Any, at: Any, size: Any, default: Any, bits: Any) -> int:
    """Unpack the changelog values `buf[at[i] : at[i] + size[i]]` (uint8) into `bits[i]` (int64[n, words]).

    Returns the first malformed value, of which it writes nothing, or -1. It reads nothing outside a value.
    """
    words = bits.shape[1]
    for i in range(len(at)):
        start = at[i] + 8 * ID_WORDS
        if not whole(buf, start, size[i] - 8 * ID_WORDS, words):
            return i
        p = start + 8 * ((words + 63) // 64)
        for w in range(words):
            mask = word_at(buf, start + 8 * (w // 64))
            if (mask >> np.int64(w % 64)) & 1:
                bits[i, w] = word_at(buf, p) ^ default[0, w]
                p += 8
            else:
                bits[i, w] = default[0, w]
    return -1


@kernel
def pack_values(bits: Any, default: Any, layout_id: int, out: Any, ends: Any) -> int:
    """Pack `bits: int64[n, words]` end to end as changelog values into `out: int64[:]`; `ends: int64[n]` in words."""
    p: Any = np.int64(0)
    for i in range(len(bits)):
        out[p] = layout_id
        p = pack_row(bits, i, default, out, p + ID_WORDS)
        ends[i] = p
    return int(p)


def value_words(words: int) -> int:
    """Return the most words that the changelog value of a row of `words` can take."""
    return ID_WORDS + mask_words(words) + words


def packed(bits: Any, default: Any, layout_id: int) -> tuple[Any, Any]:
    """Pack `bits: int64[n, words]` as changelog values end to end (int64[:]); returns these and their ends in words."""
    out = np.empty(len(bits) * value_words(bits.shape[1]), np.int64)
    ends = np.empty(len(bits), np.int64)
    used = pack_values(bits, default, layout_id, out, ends)
    return out[:used], ends
