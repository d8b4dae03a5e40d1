"""The file of a backup: its summary, pieces, encryption and key.

Promises: a damaged, cut or foreign file is refused before anything of it is used.
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
