"""What a stretched array holds stays, whether its addresses were reserved or it has to move."""

from __future__ import annotations

import numpy as np
import pytest

from streams.memory import RESERVED_BYTES, Stretched


@pytest.mark.parametrize("reserved_bytes", [0, 1 << 16, 1 << 62, RESERVED_BYTES])
def test_what_was_there_stays(reserved_bytes: int) -> None:
    stretched = Stretched(512, reserved_bytes)
    stretched.array[:] = np.arange(512)
    known = 512
    for words in (513, 5000, 100_000, 1_000_000):
        stretched.stretch(words)
        array = stretched.array
        assert len(array) >= words
        assert array[:known].tolist() == list(range(known))
        assert not array[known:].any()
        array[:] = np.arange(len(array))
        known = len(array)
        del array


def test_reserved_addresses_are_not_left() -> None:
    stretched = Stretched(512, 1 << 24)
    first = stretched.array.ctypes.data
    stretched.stretch(1 << 20)
    assert stretched.array.ctypes.data == first
