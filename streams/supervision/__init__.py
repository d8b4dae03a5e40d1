"""Watchdog, guards and failpoints: what ends a process that cannot go on.

Promises: what stands still is named within its bound; nothing else catches an unforeseen error.
"""

from .failpoints import Points, arm, reached
from .guards import EXIT_FATAL, end_process, guarded, in_role
from .watchdog import LONGER, STALL_S, Functions, Steps, Watch, Watchdog

__all__ = [
    "EXIT_FATAL",
    "LONGER",
    "STALL_S",
    "Functions",
    "Points",
    "Steps",
    "Watch",
    "Watchdog",
    "arm",
    "end_process",
    "guarded",
    "in_role",
    "reached",
]
