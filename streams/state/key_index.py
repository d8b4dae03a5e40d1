"""Step 4: turns keys into slots with a compact open-addressing index that compares the keys' bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from streams.kernels import grown, hash64, inlined, inner, kernel, prefetch, zeros

_LOW32 = np.uint64(0xFFFFFFFF)
KNOWN, GONE, TOP = range(3)  # `counters`: slots given so far, slots free again, bytes used of the arena
SIZE_BITS = 16  # of `spans`: a key's length below its place in the arena
LARGEST = (1 << SIZE_BITS) - 1
UNIT = 8  # keys take a multiple of this many bytes, so that a new key can reuse the place of a removed one
BLOCK = 32  # keys whose cache lines are prefetched at a time
FULL = 0.7  # load factor of the table: beyond it probes get long


class Index(NamedTuple):
    """The index's arrays, as kernels take them.

    `table: uint64[2^k]` holds (upper half of the hash, slot + 1), 0 = free. Each slot has `hashes: uint64[c]` and
    `spans: int64[c]` (place in `arena: uint8[:]`, length), -1 for a slot that is free again; `gone: int64[c]` is a
    stack of these. `heads: int64[.]` begin the chains of free blocks of each length in the arena (-1 = none).
    `ahead: uint64[BLOCK]` is scratch.
    """

    table: Any
    hashes: Any
    spans: Any
    arena: Any
    gone: Any
    heads: Any
    counters: Any
    ahead: Any


@inlined
def key_start(spans: Any, slot: int) -> Any:
    """Return where the slot's key begins in the arena."""
    return spans[slot] >> np.int64(SIZE_BITS)


@inlined
def key_size(spans: Any, slot: int) -> Any:
    """Return how many bytes the slot's key has."""
    return spans[slot] & np.int64(LARGEST)


@inner
def _same(arena: Any, start: int, buf: Any, at: int, size: int) -> bool:
    for k in range(size):
        if arena[start + k] != buf[at + k]:
            return False
    return True


@inlined
def _units(size: int) -> Any:
    return (np.int64(size) + UNIT - 1) // UNIT


@inner
def _enter(index: Index, buf: Any, at: int, size: int, h: Any) -> int:
    """Give a new key a slot; returns -1 when there is no room for one more."""
    counters = index.counters
    units = _units(size)
    recycled = index.heads[units] >= 0
    if not recycled and counters[TOP] + units * UNIT > len(index.arena):
        return -1
    known = counters[KNOWN] - counters[GONE]
    if known >= np.int64(FULL * len(index.table)) or (counters[GONE] == 0 and known >= len(index.hashes)):
        return -1
    if recycled:
        start = index.heads[units]
        index.heads[units] = index.arena[start : start + UNIT].view(np.int64)[0]
    else:
        start = counters[TOP]
        counters[TOP] = start + units * UNIT
    for k in range(size):
        index.arena[start + k] = buf[at + k]
    if counters[GONE] > 0:
        counters[GONE] -= 1
        slot = index.gone[counters[GONE]]
    else:
        slot = counters[KNOWN]
        counters[KNOWN] = slot + 1
    index.spans[slot] = start << np.int64(SIZE_BITS) | size
    index.hashes[slot] = h
    return int(slot)


@inlined
def _is(index: Index, slot: int, buf: Any, at: int, size: int) -> bool:
    """Whether `buf[at : at + size]` is the slot's key."""
    spans = index.spans
    return key_size(spans, slot) == size and _same(index.arena, key_start(spans, slot), buf, at, size)


@inner
def _look_up(
    buf: Any, key_at: Any, key_size_: Any, status: Any, first: int, stop: int, index: Index, out: Any
) -> None:
    """Write the hash of each key of rows `first..stop-1` into `ahead`, and its likely slot (-1 = none) into `out`.

    With many keys each step is a cache miss, so each step first prefetches the lines of all rows.
    """
    table = index.table
    mask = np.uint64(len(table) - 1)
    for i in range(first, stop):
        if status[i] == 0:
            h = hash64(buf, key_at[i], key_size_[i])
            index.ahead[i - first] = h
            prefetch(table, np.int64(h & mask))
    for i in range(first, stop):
        slot: Any = np.int64(-1)
        if status[i] == 0:
            h = index.ahead[i - first]
            place = h & mask
            while table[place] != np.uint64(0) and (table[place] ^ h) > _LOW32:
                place = (place + np.uint64(1)) & mask
            slot = np.int64(table[place] & _LOW32) - 1
            if slot >= 0:
                prefetch(index.spans, slot)
        out[i] = slot
    for i in range(first, stop):
        if out[i] >= 0:
            prefetch(index.arena, key_start(index.spans, out[i]))


@inner
def _find_or_enter(index: Index, buf: Any, at: int, size: int, h: Any) -> int:
    """Return the slot of a key with hash `h`, entering a new one; -1 when there is no room for it."""
    table = index.table
    mask = np.uint64(len(table) - 1)
    tag = h & ~_LOW32
    place = h & mask
    while table[place] != np.uint64(0):
        entry = table[place]
        if entry & ~_LOW32 == tag:
            slot = int(np.int64(entry & _LOW32)) - 1
            if _is(index, slot, buf, at, size):
                return slot
        place = (place + np.uint64(1)) & mask
    slot = _enter(index, buf, at, size, h)
    if slot >= 0:
        table[place] = tag | np.uint64(slot + 1)
    return slot


@kernel
def find_slots(
    buf: Any, key_at: Any, key_size_: Any, status: Any, first: int, count: int, index: Index, out: Any
) -> int:
    """Give each key of rows `first..count-1` whose status is 0 its slot, entering new keys.

    Returns the next row: below `count` when there is no room for one more key, and the caller grows the index and
    calls again.
    """
    for start in range(first, count, BLOCK):
        stop = min(start + BLOCK, count)
        _look_up(buf, key_at, key_size_, status, start, stop, index, out)
        for i in range(start, stop):
            if status[i] == 0 and (out[i] < 0 or not _is(index, out[i], buf, key_at[i], key_size_[i])):
                out[i] = _find_or_enter(index, buf, key_at[i], key_size_[i], index.ahead[i - start])
                if out[i] < 0:
                    return i
    return count


@kernel
def _rehash(index: Index) -> None:
    mask = np.uint64(len(index.table) - 1)
    for slot in range(index.counters[KNOWN]):
        if index.spans[slot] < 0:
            continue
        place = index.hashes[slot] & mask
        while index.table[place] != np.uint64(0):
            place = (place + np.uint64(1)) & mask
        index.table[place] = (index.hashes[slot] & ~_LOW32) | np.uint64(slot + 1)


@kernel
def remove_slot(index: Index, slot: int) -> None:
    """Remove a slot's key; the entries behind it move up (Knuth, TAOCP 3, algorithm 6.4R)."""
    table = index.table
    mask = np.uint64(len(table) - 1)
    place = index.hashes[slot] & mask
    while np.int64(table[place] & _LOW32) - 1 != slot:
        place = (place + np.uint64(1)) & mask
    hole = place
    while True:
        place = (place + np.uint64(1)) & mask
        entry = table[place]
        if entry == np.uint64(0):
            break
        home = index.hashes[np.int64(entry & _LOW32) - 1] & mask
        if ((place - home) & mask) >= ((place - hole) & mask):
            table[hole] = entry
            hole = place
    table[hole] = np.uint64(0)
    start = key_start(index.spans, slot)
    units = _units(key_size(index.spans, slot))
    index.arena[start : start + UNIT].view(np.int64)[0] = index.heads[units]
    index.heads[units] = start
    index.spans[slot] = -1
    index.gone[index.counters[GONE]] = slot
    index.counters[GONE] += 1


class KeyIndex:
    """The keys of one partition. Keys get slots in order of arrival, from 0; the slots of removed keys are reused."""

    def __init__(self, capacity: int = 1024) -> None:
        self.table = np.zeros(2 * capacity, np.uint64)
        self.hashes = np.zeros(capacity, np.uint64)
        self.spans = np.zeros(capacity, np.int64)
        self.arena = np.zeros(16 * capacity, np.uint8)
        self._gone = np.zeros(64, np.int64)
        self._heads = np.full(_units_of(LARGEST) + 1, -1, np.int64)
        self._marks = np.zeros(3, np.int64)
        self._ahead = np.zeros(BLOCK, np.uint64)

    @property
    def arrays(self) -> Index:
        """The arrays as they are now. Do not keep them: new keys may replace them."""
        return Index(
            self.table, self.hashes, self.spans, self.arena, self._gone, self._heads, self._marks, self._ahead,
        )  # fmt: skip

    @property
    def known(self) -> int:
        """How many slots were ever given: 0 to this."""
        return int(self._marks[KNOWN])

    @property
    def keys_held(self) -> int:
        """How many keys there are."""
        return int(self._marks[KNOWN] - self._marks[GONE])

    def slots(self, buf: Any, key_at: Any, key_size: Any, status: Any, count: int, out: Any) -> None:
        """Fill `out: int64[count]` with the slot of each good row (-1 for a bad one), entering new keys."""
        row = 0
        while True:
            row = find_slots(buf, key_at, key_size, status, row, count, self.arrays, out)
            if row == count:
                return
            self._grow(int(key_size[row]))

    def slot_of(self, key: bytes) -> int:
        """Return the slot of one key; enter it when it is new."""
        out = np.empty(1, np.int64)
        one = np.array([len(key)], np.int64)
        self.slots(np.frombuffer(key, np.uint8), np.zeros(1, np.int64), one, np.zeros(1, np.uint8), 1, out)
        return int(out[0])

    def find(self, key: bytes) -> int | None:
        """Return the slot of a known key, else None."""
        h = hash64(np.frombuffer(key, np.uint8), 0, len(key))
        mask = len(self.table) - 1
        place = int(h) & mask
        while entry := int(self.table[place]):
            slot = (entry & 0xFFFFFFFF) - 1
            if entry >> 32 == int(h) >> 32 and self.key(slot) == key:
                return slot
            place = (place + 1) & mask
        return None

    def remove(self, slot: int) -> None:
        """Remove the key of `slot`; another key may get the slot."""
        if self._marks[GONE] == len(self._gone):
            self._gone = grown(self._gone, 2 * len(self._gone))
        remove_slot(self.arrays, slot)

    def key(self, slot: int) -> bytes:
        """Return the key of `slot`."""
        span = int(self.spans[slot])
        start = span >> SIZE_BITS
        return self.arena[start : start + (span & LARGEST)].tobytes()

    def keys(self, slots: Any) -> list[bytes]:
        """Return the keys of many slots (int64[n])."""
        spans = self.spans[slots]
        starts = spans >> SIZE_BITS
        stops = starts + (spans & LARGEST)
        if len(starts) <= self.known // 4:
            arena = self.arena
            return [arena[a:b].tobytes() for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
        data = self.arena[: self._marks[TOP]].tobytes()
        return [data[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]

    def _grow(self, key_bytes: int) -> None:
        """Make room for one more key of `key_bytes` by doubling the arrays that are full."""
        held = self.keys_held
        if self._marks[GONE] == 0 and held >= len(self.hashes):
            self.hashes = grown(self.hashes, 2 * len(self.hashes))
            self.spans = grown(self.spans, len(self.hashes))
        if held >= int(FULL * len(self.table)):
            self.table = zeros((2 * len(self.table),), np.uint64)
            _rehash(self.arrays)
        while self._marks[TOP] + UNIT * _units_of(key_bytes) > len(self.arena):
            self.arena = grown(self.arena, 2 * len(self.arena))


def _units_of(size: int) -> int:
    return -(-size // UNIT)
