"""Arrays to bytes and back, little-endian on every machine. The bytes hold no shape, no type and no code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_bytes(array: NDArray[Any]) -> bytes:
    """Return the numbers of `array`, little-endian, row after row."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def from_bytes(array: NDArray[Any], data: bytes, name: str) -> None:
    """Fill `array` from the bytes of one of the same shape and type; raise ValueError if the size differs."""
    if len(data) != array.nbytes:
        raise ValueError(f"{name} has {len(data)} bytes, not {array.nbytes}")
    array[...] = np.frombuffer(data, array.dtype.newbyteorder("<")).reshape(array.shape)
