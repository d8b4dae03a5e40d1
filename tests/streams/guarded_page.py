"""Run the record kernels over each fuzzed record at the very end of a page that nobody may read beyond.

Started as a process of its own by test_fuzz.py: a read past the end kills it with SIGSEGV.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from pipeline.decode_programs import decode_programs
from streams.batches.columns import decode_columns
from streams.batches.record_batch import RawBatch
from tests.doubles import shipped_config
from tests.reference import streams
from tests.reference.batches import encode_record
from tests.streams.fuzz import fuzzed

PAGES = 4
PROT_NONE = 0
FRAMING = 6  # bytes: length, attributes, time, offset, the key's length


def guarded() -> tuple[mmap.mmap, int, int]:
    """A mapping whose last page cannot be touched: (mapping, address, usable bytes)."""
    area = mmap.mmap(-1, PAGES * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    usable = (PAGES - 1) * mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + usable), ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect")
    return area, address, usable


def main(count: int, overrun: bool) -> None:
    area, _, usable = guarded()
    page = np.frombuffer(area, np.uint8)
    programs = dict(zip(streams.TOPICS, decode_programs(shipped_config().features), strict=True))
    done = 0
    for record in fuzzed(5, count):
        for cut in (0, 1, 5):  # whole, and the record itself cut short
            raw = encode_record(record._replace(offset=0), 0, record.timestamp)
            raw = raw[: len(raw) - cut]
            buf = page[usable - len(raw) : usable]
            buf[:] = np.frombuffer(raw, np.uint8)
            decode_columns(RawBatch(0, 1, 0, 1, record.timestamp, buf), programs[record.topic])
            done += 1
        framed = encode_record(record._replace(offset=0), 0, record.timestamp)
        for at in range(min(FRAMING, len(framed))):  # its own lengths and offsets are others
            raw = framed[:at] + bytes((framed[at] ^ 1 << (done + at) % 8,)) + framed[at + 1 :]
            buf = page[usable - len(raw) : usable]
            buf[:] = np.frombuffer(raw, np.uint8)
            decode_columns(RawBatch(0, 1, 0, 1, record.timestamp, buf), programs[record.topic])
    if overrun:  # show that the guard bites
        int(page[usable])
    print(done)


if __name__ == "__main__":
    main(int(sys.argv[1]), "overrun" in sys.argv)
