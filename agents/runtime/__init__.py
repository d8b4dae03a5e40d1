"""What every role has: start, HTTP port, clean stop, and all roles together on one machine.

Promises: a role that cannot go on ends with one line; no role outlives the process that started it.
"""

from .parent_watch import end_with_parent
from .preflight import enter, prepare, source_topics
from .priority import give_way
from .ready import announce
from .role import READY_LINE, HttpPort, run_app, run_role, set_up_logging
from .signals import stop_on_signals
from .supervisor import Supervisor, run_together

__all__ = [
    "READY_LINE",
    "HttpPort",
    "Supervisor",
    "announce",
    "end_with_parent",
    "enter",
    "give_way",
    "prepare",
    "run_app",
    "run_role",
    "run_together",
    "set_up_logging",
    "source_topics",
    "stop_on_signals",
]
