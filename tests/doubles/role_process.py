"""A role as a process of its own with a short patience, and with one of its steps blocked if asked for.

python -m tests.doubles.role_process ROLE STALL_S [BLOCKED]     settings from the environment
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from agents.analyst.role import AnalystRole
from agents.learner.role import LearnerRole
from agents.ledger.role import LedgerRole
from agents.reader.role import ReaderRole
from agents.runtime.role import run_role, set_up_logging
from agents.worker.role import Worker
from config.settings import load_settings
from streams.transport.consumer import Consumer
from streams.transport.consumer_thread import ConsumerThread

ROLES: dict[str, Any] = {
    "worker": Worker,
    "learner": LearnerRole,
    "ledger": LedgerRole,
    "analyst": AnalystRole,
    "reader": ReaderRole,
}


def block(*_: Any, **__: Any) -> Any:
    """Never returns."""
    while True:
        time.sleep(60)


async def wait(*_: Any, **__: Any) -> Any:
    """The same, for what is awaited."""
    await asyncio.Event().wait()


async def fetch_nothing(*_: Any, **__: Any) -> dict[Any, Any]:
    """A consumer that has silently stopped fetching."""
    await asyncio.sleep(0.1)
    return {}


def _set(path: str, replacement: Any) -> Callable[[Any], None]:
    def put(role: Any) -> None:
        *owners, name = path.split(".")
        for owner in owners:
            role = getattr(role, owner)
        setattr(role, name, replacement)

    return put


BLOCKED: dict[str, Callable[[Any], None]] = {
    "fold": _set("work.run", block),
    "decode": _set("engine.prepare", block),
    "fetch": lambda role: setattr(ConsumerThread, "_fetch_records", fetch_nothing),
    "outputs": _set("processor.outputs.settled", wait),
    "rows": _set("processor.log.settled", wait),
    "offsets": lambda role: setattr(Consumer, "commit_offsets", wait),
    "restoring": _set("processor.app.before_live", wait),
    "learn": _set("_learn", block),
    "merge": _set("merging.take", block),
    "publish": _set("outputs.settled", wait),
    "read": _set("reader.complete", block),
    "corrections": _set("feed._learn", block),
    "write": _set("ledger.write", block),
}


def main(role: str, stall_s: float, blocked: str | None) -> int:
    set_up_logging()
    made = ROLES[role](load_settings(), stall_s=stall_s)
    if blocked is not None:
        BLOCKED[blocked](made)
    return run_role(made.run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))
