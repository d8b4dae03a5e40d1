"""Watchdog, guards and failpoints: they end a process that cannot go on.

Promises: the watchdog names a stalled step within its bound; only the guards catch an unforeseen error.
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
