"""The format of a receipt behind its layout id: its arrays in the order of the schema, and how numbers are packed.

The pass writes them so (`pipeline/rules.py`), the decoder finds them so, and the ledger keeps them so: 8 bytes a
number, little-endian, which takes little space and preserves every bit.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

# The arrays of a receipt, and the `struct` code of their numbers.
PACKED: Mapping[str, str] = {"snapshots": "q", "scores": "d", "fields": "d", "values": "d"}


def pack(numbers: bytes | Sequence[float], code: str = "d") -> bytes:
    """Pack numbers as 8 bytes each, little-endian; packed input stays as it is."""
    if isinstance(numbers, bytes):
        return numbers
    return struct.pack(f"<{len(numbers)}{code}", *numbers)


def unpack(packed: bytes, code: str = "d") -> list[float]:
    return list(struct.unpack(f"<{len(packed) // 8}{code}", packed))
