"""The SQL ledger: its tables, and records written once in effect (step 9).

Promises: rows and the offset behind them are one transaction.
"""

from .ledger import TOPICS, Ledger, Record, Written
from .tables import APPLIED, BY_KIND, METADATA

__all__ = ["APPLIED", "BY_KIND", "METADATA", "TOPICS", "Ledger", "Record", "Written"]
