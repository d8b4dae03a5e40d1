"""streams/batches/record_batch.py: whatever a batch was compressed with, kernels see bytes of one kind."""

from __future__ import annotations

import pytest

from streams.batches.record_batch import parse_batch
from tests.reference import batches
from tests.reference.record import Record

RECORDS = [Record("t", 0, offset, b"key", b"value" * 40, 1_500_000_000_000) for offset in range(20)]


@pytest.mark.parametrize("codec", batches.CODECS)
def test_an_opened_batch_is_read_only(codec: str) -> None:
    """Numba would compile each kernel once more for bytes that may be written to, in a worker that runs."""
    fetched = memoryview(bytearray(batches.batch(RECORDS, codec)))  # as the transport reads it off the socket
    opened = parse_batch(fetched, first=0)
    assert (opened.count, opened.buf.flags.writeable) == (20, False)
