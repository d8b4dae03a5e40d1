"""Decodes alerts and offers, with their receipts, from their records (steps 8 and 9).

Promises: thousands a second; the caller learns which records are no decisions.
"""

from . import decoder

__all__ = ["decoder"]
