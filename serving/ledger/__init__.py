"""The SQL ledger: its tables, and writes that are exactly once in effect (step 9).

Promises: one transaction writes the rows and the offsets that they were read at.
"""

from .ledger import TOPICS, Ledger, Record, Written
from .tables import APPLIED, BY_KIND, METADATA

__all__ = ["APPLIED", "BY_KIND", "METADATA", "TOPICS", "Ledger", "Record", "Written"]
