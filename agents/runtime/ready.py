"""A role says on standard output that it takes events now, and where its HTTP port is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .role import READY_LINE

_LOOK_S = 0.05


async def announce(role: str, ready: Callable[[], tuple[bool, str]], address: str) -> None:
    """Print the line as soon as the role is ready. `agents.runtime.supervisor` waits for it."""
    while not ready()[0]:
        await asyncio.sleep(_LOOK_S)
    print(f"{role} {READY_LINE} http://{address}", flush=True)
