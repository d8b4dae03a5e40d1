"""Makes a backup while the roles work: a cut through the changelog, full or an increment.

Promises: rows, offsets and outputs in a file belong to one moment of each partition.
"""

from .backup import Backup
from .schedule import HOUR_MS, Schedule

__all__ = ["HOUR_MS", "Backup", "Schedule"]
