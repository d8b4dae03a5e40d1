"""Receipts: their format, and alerts and offers decoded with them from their records (steps 8 and 9).

Promises: one place says how a receipt is packed; decoding takes thousands a second, and says which records are none.
"""

from .decoder import decode_decisions
from .receipt import PACKED, pack, unpack

__all__ = ["PACKED", "decode_decisions", "pack", "unpack"]
