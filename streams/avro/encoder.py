"""Avro encoding in kernels, so that the pass encodes an output where it decides on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.kernels import inner, kernel


@kernel
def put_long(data: Any, p: int, value: int) -> int:
    """Write a zig-zag varint at `data[p:]` (uint8). Returns the next position.

    >>> data = np.zeros(2, np.uint8)
    >>> put_long(data, 0, 300), data.tobytes().hex()
    (2, 'd804')
    """
    raw = np.uint64(value << 1) ^ np.uint64(value >> 63)
    while raw >= np.uint64(128):
        data[p] = np.uint8(raw & np.uint64(127)) | np.uint8(128)
        raw >>= np.uint64(7)
        p += 1
    data[p] = np.uint8(raw)
    return p + 1


@inner
def put_double(data: Any, p: int, value: float) -> int:
    """Write a float64, little-endian. Returns the next position.

    >>> data = np.zeros(8, np.uint8)
    >>> put_double(data, 0, 1.5), data.tobytes().hex()
    (8, '000000000000f83f')
    """
    data[p : p + 8].view(np.float64)[0] = value
    return p + 8


@inner
def put_raw(data: Any, p: int, source: Any, start: int, stop: int) -> int:
    """Copy `source[start:stop]`. Returns the next position.

    >>> data, source = np.zeros(3, np.uint8), np.frombuffer(b"web.events", np.uint8)
    >>> put_raw(data, 0, source, 4, 7), data.tobytes()
    (3, b'eve')
    """
    for k in range(start, stop):
        data[p] = source[k]
        p += 1
    return p


@kernel
def digits(value: int) -> int:
    """Return how many decimal digits `value` (>= 0) has.

    >>> digits(0), digits(4711)
    (1, 4)
    """
    count = 1
    while value >= 10:
        value //= 10
        count += 1
    return count


@kernel
def put_decimal(data: Any, p: int, value: int) -> int:
    """Write `value` (>= 0) as decimal text, without a length. Returns the next position.

    >>> data = np.zeros(4, np.uint8)
    >>> put_decimal(data, 0, 4711), data.tobytes()
    (4, b'4711')
    """
    end = p + digits(value)
    q = end
    while q > p:
        q -= 1
        data[q] = np.uint8(48 + value % 10)
        value //= 10
    return end


@inner
def put_frame(data: Any, p: int, schema_id: int) -> int:
    """Write Confluent's framing: a zero byte and the schema id, big-endian. Returns the next position.

    >>> data = np.zeros(5, np.uint8)
    >>> put_frame(data, 0, 17), data.tobytes().hex()
    (5, '0000000011')
    """
    data[p] = 0
    for k in range(4):
        data[p + 1 + k] = np.uint8((schema_id >> (24 - 8 * k)) & 255)
    return p + 5


@inner
def put_doubles(data: Any, p: int, values: Any, count: int) -> int:
    """Write an Avro array of the first `count` doubles of `values`. Returns the next position.

    >>> data = np.zeros(10, np.uint8)
    >>> put_doubles(data, 0, np.array([0.5]), 1), data.tobytes().hex()  # count, double, end of the array
    (10, '02000000000000e03f00')
    """
    if count > 0:
        p = put_long(data, p, count)
        target = data[p : p + 8 * count].view(np.float64)
        for k in range(count):
            target[k] = values[k]
        p += 8 * count
    data[p] = 0
    return p + 1
