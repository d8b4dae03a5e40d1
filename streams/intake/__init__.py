"""Intake for roles without rows: they take batches in order and commit offsets themselves (step 2).

Promises: an offset is committed only when its work is durable; a gap is counted and logged.
"""

from .dead_letters import DeadLetters
from .event_reader import EventReader
from .intake import Batches, Bounds, Intake
from .recent_ids import WINDOW, RecentIds, identity_of
from .time_merge import TimeMerge

__all__ = [
    "WINDOW",
    "Batches",
    "Bounds",
    "DeadLetters",
    "EventReader",
    "Intake",
    "RecentIds",
    "TimeMerge",
    "identity_of",
]
