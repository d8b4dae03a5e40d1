"""Batches without rows: what a role takes in order and commits itself (step 2).

Promises: nothing is committed that is not durable; a gap is counted and told.
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
