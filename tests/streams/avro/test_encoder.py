"""streams/avro/encoder.py: numbers as text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.avro.encoder import put_decimal
from tests.streams.arrays import many


@many
@given(st.integers(0, 2**63 - 1))
def test_decimal_text(number: int) -> None:
    out = np.zeros(24, np.uint8)
    assert out[: put_decimal(out, 0, number)].tobytes() == str(number).encode()
