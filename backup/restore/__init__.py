"""Restores a backup into an empty cluster, for trial too, and compares every row.

Promises: a restore that was interrupted goes on where it stopped; nothing is written where something lies.
"""

from .compare_cluster import compare_live
from .drill import Drill, Findings
from .restore import Restore, put_config

__all__ = ["Drill", "Findings", "Restore", "compare_live", "put_config"]
