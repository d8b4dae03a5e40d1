"""Receipts: alerts and offers decoded from their records (steps 8 and 9).

Promises: thousands a second; a record that is none is named.
"""

from . import decoder

__all__ = ["decoder"]
