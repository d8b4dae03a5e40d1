"""Rows in the changelog come back bit for bit; a value that is not whole is refused and its neighbours stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.state.packing import mask_words, packed, unpack_values

LAYOUT = 0x1234_5678_9ABC
NEW = np.zeros((1, 4), np.int64)
WORDS = st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1))


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and a new one (int64[1, words]) whose words some of them share."""
    count, words = draw(st.integers(0, 5)), draw(st.sampled_from([1, 2, 63, 64, 65, 130]))
    flat = draw(st.lists(WORDS, min_size=(count + 1) * words, max_size=(count + 1) * words))
    bits = np.array(flat, np.int64).reshape(count + 1, words)
    shared = np.random.default_rng(draw(st.integers(0, 99))).random((count, words)) < 0.3
    return np.where(shared, bits[-1], bits[:-1]), bits[-1:]


@settings(deadline=None)  # the first call compiles
@given(rows())
def test_what_is_packed_comes_back(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    bits, new = drawn
    count, words = bits.shape
    values, ends = packed(bits, new, LAYOUT)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[:count]
    assert all(values[start] == LAYOUT for start in starts)
    assert len(values) == count * (1 + mask_words(words)) + np.count_nonzero(bits != new)
    target = np.full((count + 1, words), 7, np.int64)
    at, size = 8 * starts, 8 * (ends - starts)
    assert unpack_values(values.view(np.uint8), at, size, new, target) == -1
    assert target[:-1].tolist() == bits.tolist()
    assert (target[-1] == 7).all()


@settings(deadline=None)
@given(rows().filter(lambda drawn: len(drawn[0]) > 0), st.data())
def test_a_damaged_value_is_refused_or_a_row_and_its_neighbours_stay(
    drawn: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    bits, new = drawn
    count, words = bits.shape
    values, ends = packed(bits, new, LAYOUT)
    which = data.draw(st.integers(0, count - 1))
    starts = np.concatenate([[0], ends[:-1]])
    at, size = 8 * starts, 8 * (ends - starts)
    mask = values[starts[which] + 1 : starts[which] + 1 + mask_words(words)]
    mask[data.draw(st.integers(0, len(mask) - 1))] ^= np.int64(1) << np.int64(data.draw(st.integers(0, 62)))
    size[which] = data.draw(st.integers(0, int(size[which]) + 8))
    target = np.full((count, words), 7, np.int64)
    bad = unpack_values(values.view(np.uint8), at, size, new, target)
    assert bad in (-1, which)
    assert target[:which].tolist() == bits[:which].tolist()
    if bad == which:
        assert (target[which:] == 7).all()


@pytest.mark.parametrize("size", range(40))
def test_a_value_cut_anywhere_is_refused(size: int) -> None:
    values, ends = packed(np.array([[1, 0, 2, 3]]), NEW, LAYOUT)
    target = np.zeros((1, 4), np.int64)
    whole = int(8 * ends[0])
    assert unpack_values(values.view(np.uint8), np.array([0]), np.array([size]), NEW, target) == 0
    assert unpack_values(values.view(np.uint8), np.array([0]), np.array([whole]), NEW, target) == -1
    assert target.tolist() == [[1, 0, 2, 3]]


def test_a_mask_that_names_words_beyond_the_row_is_refused() -> None:
    value = np.array([LAYOUT, 0b10001, 5, 6])
    target = np.zeros((1, 4), np.int64)
    assert unpack_values(value.view(np.uint8), np.array([0]), np.array([32]), NEW, target) == 0
