"""streams/kernels/varint.py: varints are read as they are written, and no further."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.avro.encoder import put_long
from streams.kernels.jit import kernel
from streams.kernels.varint import read_varint
from tests.reference import batches
from tests.streams.arrays import array, many

WORD = 2**64 - 1


@kernel
def varint_at(buf: Any, p: int, end: int) -> Any:
    return read_varint(buf, p, end)


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
