"""Rows of a partition as arrays: key index, whole and packed rows, deadlines, moves between layouts (step 5).

Promises: whole rows take a bounded number of places; a packed row unpacks to the same bits.
"""

from .deadline_heap import earliest, pop, push, rebuild, stale
from .key_index import KeyIndex, key_size, key_start
from .migration import GONE, Moves, move, runs
from .packing import packed, unpack_values
from .row_batch import BATCH_BYTES, RowBatch, write_records
from .row_kernels import evict, has_room, keep_row, place_of
from .rows import Rows
from .store import NEXT, SOON, Store, ask_row

__all__ = [
    "BATCH_BYTES",
    "GONE",
    "NEXT",
    "SOON",
    "KeyIndex",
    "Moves",
    "RowBatch",
    "Rows",
    "Store",
    "ask_row",
    "earliest",
    "evict",
    "has_room",
    "keep_row",
    "key_size",
    "key_start",
    "move",
    "packed",
    "place_of",
    "pop",
    "push",
    "rebuild",
    "runs",
    "stale",
    "unpack_values",
    "write_records",
]
