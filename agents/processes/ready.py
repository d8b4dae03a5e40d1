"""The line by which a role says on standard output that it takes events now, and where its HTTP port is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

READY_LINE = "ready"  # what a role prints when it takes events: `streamwise up` and tests wait for it
_LOOK_S = 0.05


async def announce(role: str, ready: Callable[[], tuple[bool, str]], address: str) -> None:
    """Print the line as soon as the role is ready; `agents.processes.supervisor` waits for it."""
    while not ready()[0]:
        await asyncio.sleep(_LOOK_S)
    say_ready(role, address)


def say_ready(role: str, address: str) -> None:
    """Print the line in one write, because other roles of this process print theirs."""
    sys.stdout.write(f"{role} {READY_LINE} http://{address}\n")
    sys.stdout.flush()
