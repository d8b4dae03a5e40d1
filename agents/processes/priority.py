"""Work that has time: it takes what the roles beside it leave of the processors."""

from __future__ import annotations

import os
from contextlib import suppress


def give_way() -> None:
    """Run, with all threads begun later, only while a processor has nothing else to do: the roles keep their pace."""
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):  # where it is not allowed, as with some containers
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(19)
