"""streams/batches/records.py: the records of a batch are found, and nothing outside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.batches.records import find_records
from tests.reference import batches
from tests.reference.record import Record
from tests.streams.arrays import array, many

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
