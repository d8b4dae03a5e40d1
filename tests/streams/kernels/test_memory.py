"""What a stretched array holds stays, whether its addresses were reserved or it has to move."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from streams.kernels.memory import RESERVED_BYTES, Stretched


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


def test_freed_memory_goes_back_to_the_system() -> None:
    kept, left = _resident_after("keep_memory()"), _resident_after("keep_memory()", "give_back()")
    assert kept > 100e6
    assert left < 20e6


def _resident_after(first: str, then: str = "pass") -> float:
    """How much more memory a process of its own has after it freed a thousand arrays of 160 kB."""
    code = f"""
import numpy as np
from bench.harness.product_worker import resident_bytes
from os import getpid
from streams.kernels.memory import give_back, keep_memory
{first}
before = resident_bytes(getpid())
arrays = [np.ones(20_000) for _ in range(1000)]
del arrays
{then}
print(resident_bytes(getpid()) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
