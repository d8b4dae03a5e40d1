"""The backup file: its header, summary, chunks, encryption and key.

Promises: a reader refuses a damaged, truncated or foreign file before it uses any of it.
"""

from .archive import PART, ArchiveReader, ArchiveWriter, piece, pieces
from .key import new_key, read_key
from .records import decode, encode
from .summary import (
    ANALYST,
    CHANGELOG,
    FILES,
    FULL,
    INCREMENT,
    MODELS,
    OUTPUT,
    TABLE,
    Header,
    Range,
    Slice,
    Summary,
)

__all__ = [
    "ANALYST",
    "CHANGELOG",
    "FILES",
    "FULL",
    "INCREMENT",
    "MODELS",
    "OUTPUT",
    "PART",
    "TABLE",
    "ArchiveReader",
    "ArchiveWriter",
    "Header",
    "Range",
    "Slice",
    "Summary",
    "decode",
    "encode",
    "new_key",
    "piece",
    "pieces",
    "read_key",
]
