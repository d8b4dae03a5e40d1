"""Parses, checks, decodes and builds raw record batches (steps 2 and 3).

Promises: nothing outside a batch is read; the error of a damaged batch gives its offset.
"""

from .builder import raw_batch
from .columns import Columns, decode_columns
from .decode_ahead import DecodeAhead
from .record_batch import (
    CONTROL,
    CRC_FROM,
    HEADER,
    HEADER_BYTES,
    LENGTH,
    LENGTH_AT,
    TRANSACTIONAL,
    RawBatch,
    open_batch,
    parse_batch,
    read_header,
    skipped,
)
from .records import find_records, records

__all__ = [
    "CONTROL",
    "CRC_FROM",
    "HEADER",
    "HEADER_BYTES",
    "LENGTH",
    "LENGTH_AT",
    "TRANSACTIONAL",
    "Columns",
    "DecodeAhead",
    "RawBatch",
    "decode_columns",
    "find_records",
    "open_batch",
    "parse_batch",
    "raw_batch",
    "read_header",
    "records",
    "skipped",
]
