"""The ledger role: writes alerts, offers and what became of them into SQL (step 9).

Promises: each record has effect once; SQL says itself which offset it holds.
"""

from . import role
from .role import GROUP, LedgerRole

__all__ = ["GROUP", "LedgerRole", "role"]
