"""streams/kernels/utf8.py: it takes what Python takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.kernels.utf8 import valid_utf8
from tests.streams.arrays import array, many


@many
@given(st.binary(max_size=12) | st.text(max_size=6).map(str.encode))
def test_utf8_as_python_takes_it(data: bytes) -> None:
    try:
        data.decode()
        good = True
    except UnicodeDecodeError:
        good = False
    assert bool(valid_utf8(array(b"a" + data + b"\x80"), 1, 1 + len(data))) is good


def test_every_utf8_boundary() -> None:
    for lead in range(256):
        for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0):
            for data in (
                bytes([lead, second]),
                bytes([lead, second, 0x80]),
                bytes([lead, second, 0x80, 0x80]),
            ):
                try:
                    data.decode()
                    good = True
                except UnicodeDecodeError:
                    good = False
                assert bool(valid_utf8(array(data), 0, len(data))) is good, data
