"""What every role has: checks before the start, an event loop, an HTTP port, a clean stop; roles that share a process.

Promises: a role that cannot go on ends with one line that says what to do.
"""

from .intake_role import IntakeRole
from .preflight import enter, prepare, source_topics
from .role import HttpPort, run_app, run_role, set_up_logging, stop_event
from .sharing import run_shared

__all__ = [
    "HttpPort",
    "IntakeRole",
    "enter",
    "prepare",
    "run_app",
    "run_role",
    "run_shared",
    "set_up_logging",
    "source_topics",
    "stop_event",
]
