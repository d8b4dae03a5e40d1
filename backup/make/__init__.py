"""Makes a full backup or an increment while the roles run, by a consistent cut through the changelog.

Promises: the rows, offsets and outputs of a partition in a file belong to one moment.
"""

from .backup import Backup
from .schedule import HOUR_MS, Schedule

__all__ = ["HOUR_MS", "Backup", "Schedule"]
