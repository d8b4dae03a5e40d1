"""Records of a raw batch one by one, and batches made without a broker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.batches.builder import raw_batch
from streams.batches.record_batch import RawBatch
from streams.batches.records import records
from streams.errors import Poison

PAIRS = st.lists(
    st.tuples(st.none() | st.binary(max_size=300), st.none() | st.binary(max_size=300)), max_size=200
)


@given(PAIRS, st.integers(0, 2**40))
def test_what_is_framed_is_read_again(pairs: list[tuple[bytes | None, bytes | None]], base: int) -> None:
    found = list(records(raw_batch(base, pairs)))
    assert found == [(base + number, key, value) for number, (key, value) in enumerate(pairs)]


def test_records_below_the_first_wanted_offset_are_left_out() -> None:
    batch = raw_batch(10, [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    batch = RawBatch(batch.base_offset, batch.count, 12, batch.next_offset, -1, batch.buf)
    assert list(records(batch)) == [(12, b"c", b"3")]


def test_a_batch_that_cannot_be_read_is_poison_before_any_record_is_given() -> None:
    whole = raw_batch(5, [(b"a", b"1"), (b"b", b"2")])
    cut = RawBatch(5, 2, 5, 7, -1, whole.buf[:-1])
    with pytest.raises(Poison, match="overlap or end early"):
        records(cut)
    with pytest.raises(Poison, match="does not decompress"):
        records(RawBatch(5, 0, 5, 7, -1, np.empty(0, np.uint8), "the batch does not decompress: x"))


def test_a_batch_without_records_gives_none() -> None:
    assert list(records(RawBatch(5, 0, 5, 7, -1, np.empty(0, np.uint8)))) == []
