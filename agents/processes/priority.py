"""Lowest priority, for work without a deadline: it gets only the processor time that the roles leave."""

from __future__ import annotations

import os
from contextlib import suppress


def give_way() -> None:
    """Run this thread, and all it starts from now on, only on idle processors, so that the roles lose no speed."""
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):  # some containers do not allow it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(19)
