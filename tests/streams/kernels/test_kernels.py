"""The kernels of streams/ one by one, each against something slow and obvious. Also run without the JIT."""

from __future__ import annotations

import random
from bisect import insort
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.avro.encoder import put_decimal, put_long
from streams.batches.records import find_records
from streams.engine.inbox import NO_LIMIT, merge
from streams.kernels.hashing import hash64, hash_bytes, hash_text
from streams.kernels.jit import kernel
from streams.kernels.utf8 import valid_utf8
from streams.kernels.varint import read_varint
from streams.state.deadline_heap import earliest, pop, push, rebuild
from streams.state.key_index import KeyIndex
from streams.state.row_kernels import place_of
from streams.state.rows import Rows
from tests.reference import batches, hashing
from tests.reference.record import Record

WORD = 2**64 - 1


@kernel
def varint_at(buf: Any, p: int, end: int) -> Any:
    return read_varint(buf, p, end)


@kernel
def earliest_of(rows: Any, row: int, words: Any) -> Any:
    return earliest(rows, row, words)


@kernel
def place(store: Any, slot: int) -> Any:
    return place_of(store, slot)


many = settings(max_examples=150, deadline=None)


def array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)


# -- hashing


@many
@given(st.binary(max_size=40), st.binary(max_size=9))
def test_hash_is_the_references_and_sees_nothing_around(data: bytes, around: bytes) -> None:
    with np.errstate(over="ignore"):
        assert int(hash64(array(around + data + around), len(around), len(data))) == hashing.hash64(data)
    assert hash_bytes(data) == hashing.hash64(data)


def test_hash_of_text() -> None:
    assert hash_text("Käse") == hashing.hash52("Käse")


# -- varints and records


@many
@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=3))
def test_varints_are_read_as_they_are_written(number: int, behind: bytes) -> None:
    data = batches.varint(number)
    found, p = varint_at(array(data + behind), 0, len(data))
    assert (int(found), int(p)) == (number, len(data))
    for cut in range(len(data)):  # cut short: not read past its end, although the rest of it stands there
        assert int(varint_at(array(data + behind), 0, cut)[1]) == -1
    out = np.zeros(12, np.uint8)
    assert out[: put_long(out, 0, np.int64(number))].tobytes() == data


@pytest.mark.parametrize(
    "data", [b"\xff" * 11, b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x01", b"\xff" * 9 + b"\x7f"]
)
def test_varints_of_more_than_64_bits_are_refused(data: bytes) -> None:
    assert int(varint_at(array(data), 0, len(data))[1]) == -1


@many
@given(st.integers(0, 2**63 - 1))
def test_decimal_text(number: int) -> None:
    out = np.zeros(24, np.uint8)
    assert out[: put_decimal(out, 0, number)].tobytes() == str(number).encode()


@many
@given(st.binary(max_size=12) | st.text(max_size=6).map(str.encode))
def test_utf8_as_python_takes_it(data: bytes) -> None:
    try:
        data.decode()
        good = True
    except UnicodeDecodeError:
        good = False
    assert bool(valid_utf8(array(b"a" + data + b"\x80"), 1, 1 + len(data))) is good


def test_every_utf8_boundary() -> None:
    for lead in range(256):
        for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0):
            for data in (
                bytes([lead, second]),
                bytes([lead, second, 0x80]),
                bytes([lead, second, 0x80, 0x80]),
            ):
                try:
                    data.decode()
                    good = True
                except UnicodeDecodeError:
                    good = False
                assert bool(valid_utf8(array(data), 0, len(data))) is good, data


parts = st.none() | st.binary(max_size=20)
record = st.builds(
    lambda key, value, skip, headers: (key, value, skip, headers),
    parts, parts, st.integers(0, 3), st.lists(st.tuples(st.text(max_size=3), parts), max_size=2),
)  # fmt: skip


def located(data: bytes, count: int, base: int = 0, first: int = 0) -> list[Any] | None:
    offsets, key_at, key_size, value_at, value_size = np.zeros((5, max(1, count)), np.int64)
    buf = array(data)
    found = find_records(buf, count, base, first, offsets, key_at, key_size, value_at, value_size)
    if found < 0:
        return None

    def part(at: Any, size: Any, i: int) -> bytes | None:
        return None if size[i] < 0 else buf[at[i] : at[i] + size[i]].tobytes()

    return [(int(offsets[i]), part(key_at, key_size, i), part(value_at, value_size, i)) for i in range(found)]


def records_of(drawn: list[Any], base: int) -> list[Record]:
    offset, found = base, []
    for key, value, skip, headers in drawn:
        offset += skip
        found.append(Record("t", 0, offset, key, value, 1000 + offset, tuple(headers)))
        offset += 1
    return found


@many
@given(st.lists(record, max_size=8), st.integers(0, 2**40), st.integers(0, 30))
def test_records_are_found_from_the_first_wanted_one(drawn: list[Any], base: int, wanted: int) -> None:
    records = records_of(drawn, base)
    data = b"".join(batches.encode_record(r, base, 1000) for r in records)
    expected = [(r.offset, r.key, r.value) for r in records if r.offset >= base + wanted]
    assert located(data, len(records), base, base + wanted) == expected


@many
@given(st.lists(record, min_size=1, max_size=4), st.data())
def test_a_batch_that_is_not_whole_is_refused(drawn: list[Any], data: st.DataObject) -> None:
    records = records_of(drawn, 0)
    good = b"".join(batches.encode_record(r, 0, 0) for r in records)
    assert located(good, len(records)) is not None
    assert located(good[: data.draw(st.integers(0, len(good) - 1))], len(records)) is None
    assert located(good + b"\0", len(records)) is None
    assert located(good, len(records) + 1) is None
    assert located(good, len(records) - 1) is None


@many
@given(st.binary(max_size=40), st.integers(0, 5))
def test_noise_never_places_anything_outside_the_batch(noise: bytes, count: int) -> None:
    found = located(noise, count)
    assert found is None or all(len(k or b"") + len(v or b"") <= len(noise) for _, k, v in found)


# -- key index


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


# -- merge

heads = st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=4)


@many
@given(heads, st.data())
def test_merge_takes_the_earliest_head_and_waits_for_what_is_not_here(
    topics: list[list[int]], data: Any
) -> None:
    """No event at its topic's limit or behind it is taken; offsets are counted within each topic here."""
    waiting = [data.draw(st.booleans()) for _ in topics]
    limits = [data.draw(st.integers(0, len(events)) | st.just(NO_LIMIT)) for events in topics]
    times: list[float] = []
    following: list[int] = []
    offsets: list[int] = []
    first: list[int] = []
    for events in topics:
        first.append(len(times) if events else -1)
        for place, time in enumerate(events):
            times.append(float(time))
            offsets.append(place)
            following.append(len(times) if place + 1 < len(events) else -1)
    expected, left = [], [events[:limit] for events, limit in zip(topics, limits, strict=True)]
    whole = [len(events) for events in topics]
    taken = [0] * len(topics)
    while any(left) and not (
        len(topics) > 1 and any(w and taken[n] == whole[n] for n, w in enumerate(waiting))
    ):
        time, which = min((events[0], number) for number, events in enumerate(left) if events)
        expected.append(first[which] + taken[which])
        taken[which] += 1
        left[which].pop(0)
    order, at = np.zeros(max(1, len(times)), np.int64), np.array(first, np.int64)
    count = merge(
        np.array(times or [0.0]), np.array(following or [0], np.int64), at, np.array(waiting), order,
        np.array(offsets or [0], np.int64), np.array(limits, np.int64),
    )  # fmt: skip
    assert order[:count].tolist() == expected
    rest = [first[n] + taken[n] if taken[n] < whole[n] else -1 for n in range(len(topics))]
    assert at.tolist() == rest


# -- deadlines


@many
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9), st.booleans()), max_size=60), st.integers(0, 99)
)
def test_the_heap_is_a_sorted_list(steps: list[tuple[int, int, bool]], seed: int) -> None:
    draw = random.Random(seed)
    hashes = np.array([draw.getrandbits(64) for _ in range(10)], np.uint64)
    times, slots, wake = np.zeros(64), np.zeros(64, np.int64), np.zeros(10)
    size = 0
    model: list[tuple[float, int]] = []
    for time, slot, take in steps:
        if take and model:
            expected = model.pop(0)
            assert (times[0], int(hashes[slots[0]])) == expected
            size = pop(times, slots, size, hashes)
        else:
            size = push(times, slots, size, hashes, wake, float(time), slot)
            insort(model, (float(time), int(hashes[slot])))
            assert wake[slot] == time
        assert size == len(model)


def test_the_earliest_deadline_of_a_row_and_on_equal_times_the_first() -> None:
    rows = np.array([[0.0, 0.0, 0.0], [0.0, 7.0, 5.0], [5.0, 5.0, 9.0]])
    words = np.array([0, 1, 2], np.int64)
    found = [earliest_of(rows, slot, words) for slot in range(3)]
    assert [(int(which), float(due)) for due, which in found] == [(-1, 0.0), (2, 5.0), (0, 5.0)]


def test_the_heap_is_rebuilt_from_the_rows_that_there_are() -> None:
    rows, index = Rows(np.zeros(2), 64), KeyIndex()
    for key in (b"a", b"b", b"c", b"gone", b"new"):
        index.slot_of(key)
    rows.put_whole(np.arange(4), np.array([[0.0, 9.0], [0.0, 0.0], [4.0, 6.0], [1.0, 1.0]]))
    assert place(rows.store, 0) >= 0  # whole; the others are packed
    rows.forget(3)
    index.remove(3)
    wake, times, slots = np.full(5, 77.0), np.zeros(8), np.zeros(8, np.int64)
    words = np.array([0, 1], np.int64)
    size = rebuild(rows.store, index.arrays, words, times, slots, wake, np.empty((1, 2)))
    wake = wake[:3]
    assert (size, wake.tolist()) == (2, [9.0, 0.0, 4.0])
    assert (times[0], slots[0]) == (4.0, 2)
