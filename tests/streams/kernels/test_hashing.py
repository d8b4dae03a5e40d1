"""streams/kernels/hashing.py: every hash is the reference's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.kernels.hashing import hash64, hash_bytes, hash_text
from tests.reference import hashing
from tests.streams.arrays import array, many


@many
@given(st.binary(max_size=40), st.binary(max_size=9))
def test_hash_is_the_references_and_sees_nothing_around(data: bytes, around: bytes) -> None:
    with np.errstate(over="ignore"):
        assert int(hash64(array(around + data + around), len(around), len(data))) == hashing.hash64(data)
    assert hash_bytes(data) == hashing.hash64(data)


def test_hash_of_text() -> None:
    assert hash_text("Käse") == hashing.hash52("Käse")
