"""Step 4: keys become slots. A compact open-addressing index; two keys are equal only when their bytes are."""

from __future__ import annotations

from typing import Any

import numpy as np

from .hashing import hash64
from .kernel import kernel

_LOW32 = np.uint64(0xFFFFFFFF)


@kernel
def _same(arena: Any, start: int, buf: Any, at: int, size: int) -> bool:
    for k in range(size):
        if arena[start + k] != buf[at + k]:
            return False
    return True


@kernel
def find_slots(
    buf: Any, key_at: Any, key_size: Any, status: Any, first: int, count: int, table: Any, hashes: Any, ends: Any,
    arena: Any, known: int, out: Any,
) -> Any:  # fmt: skip
    """Give each key of rows `first..count-1` whose status is 0 its slot, entering new keys.

    `table: uint64[2^k]` holds (upper half of the hash, slot + 1), 0 = free; `hashes: uint64[c]`; the key of slot s is
    `arena[ends[s] : ends[s + 1]]`. Returns (next row, keys known): next row < count when there is
    no room for one more key, and the caller grows the index and calls again.
    """
    mask = np.uint64(len(table) - 1)
    room = min(len(hashes), len(ends) - 1, len(table) // 2)
    for i in range(first, count):
        if status[i] != 0:
            out[i] = -1
            continue
        at = key_at[i]
        size = key_size[i]
        h = hash64(buf, at, size)
        tag = h & ~_LOW32
        place = h & mask
        while True:
            entry = table[place]
            if entry == np.uint64(0):
                if known >= room or ends[known] + size > len(arena):
                    return i, known
                for k in range(size):
                    arena[ends[known] + k] = buf[at + k]
                ends[known + 1] = ends[known] + size
                hashes[known] = h
                table[place] = tag | np.uint64(known + 1)
                out[i] = known
                known += 1
                break
            if entry & ~_LOW32 == tag:
                slot = np.int64(entry & _LOW32) - 1
                start = ends[slot]
                if ends[slot + 1] - start == size and _same(arena, start, buf, at, size):
                    out[i] = slot
                    break
            place = (place + np.uint64(1)) & mask
    return count, known


@kernel
def _rehash(hashes: Any, known: int, table: Any) -> None:
    mask = np.uint64(len(table) - 1)
    for slot in range(known):
        place = hashes[slot] & mask
        while table[place] != np.uint64(0):
            place = (place + np.uint64(1)) & mask
        table[place] = (hashes[slot] & ~_LOW32) | np.uint64(slot + 1)


def grown(array: Any, size: int) -> Any:
    """A copy of `array` with room for `size` rows; what lies beyond the old ones is zero."""
    bigger = np.zeros((size, *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


class KeyIndex:
    """The keys of one partition. Slots are given in the order of arrival, from 0."""

    def __init__(self, capacity: int = 1024) -> None:
        self.known = 0
        self.table = np.zeros(4 * capacity, np.uint64)
        self.hashes = np.zeros(capacity, np.uint64)
        self.ends = np.zeros(capacity + 1, np.int64)
        self.arena = np.zeros(16 * capacity, np.uint8)

    def slots(self, buf: Any, key_at: Any, key_size: Any, status: Any, count: int, out: Any) -> None:
        """Fill `out: int64[count]` with the slot of each good row (-1 for a bad one), entering new keys."""
        row = 0
        while True:
            row, self.known = find_slots(
                buf, key_at, key_size, status, row, count, self.table, self.hashes, self.ends, self.arena,
                self.known, out,
            )  # fmt: skip
            if row == count:
                return
            self._grow(int(key_size[row]))

    def slot_of(self, key: bytes) -> int:
        """The slot of one key, entered when it is new."""
        out = np.empty(1, np.int64)
        one = np.array([len(key)], np.int64)
        self.slots(np.frombuffer(key, np.uint8), np.zeros(1, np.int64), one, np.zeros(1, np.uint8), 1, out)
        return int(out[0])

    def find(self, key: bytes) -> int | None:
        """The slot of a key that is known, else None."""
        h = hash64(np.frombuffer(key, np.uint8), 0, len(key))
        mask = len(self.table) - 1
        place = int(h) & mask
        while entry := int(self.table[place]):
            slot = (entry & 0xFFFFFFFF) - 1
            if entry >> 32 == int(h) >> 32 and self.key(slot) == key:
                return slot
            place = (place + 1) & mask
        return None

    def key(self, slot: int) -> bytes:
        """The bytes of the key of `slot`."""
        return self.arena[self.ends[slot] : self.ends[slot + 1]].tobytes()

    def keys(self, slots: Any) -> list[bytes]:
        """The keys of many slots (int64[n])."""
        starts, stops = self.ends[slots].tolist(), self.ends[slots + 1].tolist()
        arena = self.arena[: self.ends[self.known]].tobytes() if len(starts) > self.known // 4 else None
        if arena is None:
            return [self.arena[a:b].tobytes() for a, b in zip(starts, stops, strict=True)]
        return [arena[a:b] for a, b in zip(starts, stops, strict=True)]

    def _grow(self, key_bytes: int) -> None:
        """Make room for one more key of `key_bytes`, by doubling whatever is full."""
        if self.known >= min(len(self.hashes), len(self.table) // 2):
            self.hashes = grown(self.hashes, 2 * len(self.hashes))
            self.ends = grown(self.ends, len(self.hashes) + 1)
            self.table = np.zeros(4 * len(self.hashes), np.uint64)
            _rehash(self.hashes, self.known, self.table)
        while self.ends[self.known] + key_bytes > len(self.arena):
            self.arena = grown(self.arena, 2 * len(self.arena))
