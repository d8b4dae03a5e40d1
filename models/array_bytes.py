"""Arrays as bytes, in the same order of bytes on every machine; no shape, type or code travels with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_bytes(array: NDArray[Any]) -> bytes:
    """The numbers of `array`, little-endian, row after row."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def from_bytes(array: NDArray[Any], data: bytes, name: str) -> None:
    """Put them back into an array of the same shape and type; ValueError where they do not fit."""
    if len(data) != array.nbytes:
        raise ValueError(f"{name} has {len(data)} bytes, not {array.nbytes}")
    array[...] = np.frombuffer(data, array.dtype.newbyteorder("<")).reshape(array.shape)
