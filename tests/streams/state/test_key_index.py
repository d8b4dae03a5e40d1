"""streams/state/key_index.py: a key has its slot, whatever grows or goes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.kernels.hashing import hash_bytes
from streams.state.key_index import KeyIndex
from tests.streams.arrays import array, many
from tests.streams.kernels.test_varint import WORD


def slots_of(index: KeyIndex, keys: list[bytes], status: list[int] | None = None) -> list[int]:
    buf = array(b"".join(keys) or b"\0")
    sizes = np.array([len(key) for key in keys], np.int64)
    starts = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
    out = np.full(len(keys), 99, np.int64)
    index.slots(buf, starts, sizes, np.array(status or [0] * len(keys), np.uint8), len(keys), out)
    return [int(slot) for slot in out]


@many
@given(st.lists(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=40), max_size=6))
def test_keys_have_the_slots_of_their_arrival_through_any_growth(chunks: list[list[bytes]]) -> None:
    index = KeyIndex(capacity=2)
    known: dict[bytes, int] = {}
    for keys in chunks:
        expected = [known.setdefault(key, len(known)) for key in keys]
        assert slots_of(index, keys) == expected
    assert index.known == len(known)
    assert {key: index.find(key) for key in known} == known
    assert [index.key(slot) for slot in range(index.known)] == list(known)
    assert index.keys(np.arange(index.known)) == list(known)
    assert index.find(b"never seen") is None


@many
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=400))
def test_keys_that_were_removed_are_gone_and_their_slots_are_given_again(
    steps: list[tuple[bool, int]],
) -> None:
    index = KeyIndex(capacity=2)
    known: dict[bytes, int] = {}
    for enters, number in steps:
        key = b"k" * (number % 23) + str(number).encode()
        if enters:
            slot = index.slot_of(key)
            assert known.setdefault(key, slot) == slot
        elif key in known:
            index.remove(known.pop(key))
        assert index.find(key) == known.get(key)
    assert len(set(known.values())) == len(known) == index.keys_held
    assert {key: index.find(key) for key in known} == known
    assert [index.key(slot) for slot in known.values()] == list(known)
    assert index.known <= 61
    assert len(index.arena) <= 16384


def test_a_key_that_is_larger_than_the_arena() -> None:
    index = KeyIndex(capacity=2)
    keys = [bytes([65 + n]) * 1000 for n in range(5)]
    assert slots_of(index, keys) == [0, 1, 2, 3, 4]
    assert [index.key(slot) for slot in range(5)] == keys


def test_bad_records_enter_no_key() -> None:
    index = KeyIndex(capacity=2)
    assert slots_of(index, [b"a", b"b", b"a"], [0, 5, 0]) == [0, -1, 0]
    assert index.find(b"b") is None


def colliding(first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """Two keys of 16 bytes with one and the same 64-bit hash: the second halves are worked out backwards."""

    def state(head: bytes) -> int:
        h = 0x9E3779B97F4A7C15 ^ (16 * 0xC2B2AE3D27D4EB4F & WORD)
        h = (h ^ int.from_bytes(head, "little")) * 0xFF51AFD7ED558CCD & WORD
        return h ^ h >> 32

    tail = b"8 bytes."
    wanted = state(first) ^ int.from_bytes(tail, "little")
    return first + tail, second + (wanted ^ state(second)).to_bytes(8, "little")


def test_keys_are_equal_only_when_their_bytes_are() -> None:
    a, b = colliding(b"customer", b"anotherc")
    assert a != b
    assert hash_bytes(a) == hash_bytes(b)
    index = KeyIndex(capacity=2)
    assert slots_of(index, [a, b, a, b, a[:8], b"x"]) == [0, 1, 0, 1, 2, 3]
    assert (index.find(a), index.find(b)) == (0, 1)
    slots_of(index, [f"grow {n}".encode() for n in range(50)])
    assert slots_of(index, [b, a]) == [1, 0]
    other = colliding(b"yet one ", b"more key")[1]
    assert index.find(other) is None
