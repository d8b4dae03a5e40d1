"""The ledger role: writes alerts, offers and their outcomes into SQL (step 9).

Promises: each record has effect once; SQL stores the offset it holds with the rows.
"""

from . import role
from .role import GROUP, LedgerRole

__all__ = ["GROUP", "LedgerRole", "role"]
