"""Runs roles as processes of one machine: a parent that imports nothing heavy starts, watches and stops them together.

Promises: no role outlives the process that started it; when a role ends, the error has its name and its last line.
"""

from .parent_watch import end_with_parent
from .priority import give_way
from .ready import READY_LINE, announce, say_ready
from .signals import stop_on_signals
from .supervisor import RoleProcess, Supervisor, environment, run_first, run_together

__all__ = [
    "READY_LINE",
    "RoleProcess",
    "Supervisor",
    "announce",
    "end_with_parent",
    "environment",
    "give_way",
    "run_first",
    "run_together",
    "say_ready",
    "stop_on_signals",
]
