"""Restores a backup into an empty cluster; a drill restores it to a scratch place and compares every row.

Promises: an interrupted restore resumes where it stopped; a restore never writes over existing data.
"""

from .compare_cluster import compare_live
from .drill import Drill, Findings
from .restore import Restore, put_config

__all__ = ["Drill", "Findings", "Restore", "compare_live", "put_config"]
