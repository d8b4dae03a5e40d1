"""Runs one role of the product as a process of the fault bench, with a less patient watchdog.

python -m bench.faults.role_process ROLE [--failpoint POINT:COUNT[:hang]] [--weakness NAME]

Settings come from STREAMWISE_* as usual. `--weakness` adds one of `bench.faults.weaknesses` to this process.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from agents.learner import LearnerRole
from agents.ledger import GROUP, LedgerRole
from agents.processes import end_with_parent
from agents.runtime import prepare, run_role, set_up_logging
from agents.worker import Worker
from config.settings import load_settings
from streams.durability import CommitCycle
from streams.errors import StreamwiseError
from streams.supervision import STALL_S, arm

from .weaknesses import WEAKNESSES


def main(argv: list[str] | None = None) -> int:
    """Run the role until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["worker", "learner", "ledger"])
    parser.add_argument("--failpoint", default="")
    parser.add_argument("--weakness", choices=sorted(WEAKNESSES))
    parser.add_argument("--group")
    parser.add_argument("--stall", type=float, default=STALL_S)
    given = parser.parse_args(argv)
    end_with_parent()
    set_up_logging()
    try:
        role = _role(given)
    except StreamwiseError as error:
        sys.stderr.write(f"streamwise: {error}\n")
        return 1
    return run_role(role.run)


def _role(given: argparse.Namespace) -> Any:
    settings = load_settings()
    prepare(settings)
    role: Any
    if given.role == "worker":
        role = Worker(settings, stall_s=given.stall)
        cycle = role.cycle  # do not count cycles that have nothing to write
        arm(given.failpoint, cycle.failpoints, CommitCycle.STEPS, counts=lambda: cycle.rows > 0)
        if given.weakness:
            WEAKNESSES[given.weakness](role)
    else:
        role = (
            LearnerRole(settings)
            if given.role == "learner"
            else LedgerRole(settings, group=given.group or GROUP)
        )
        arm(given.failpoint, role.failpoints, role.POINTS)
    return role


if __name__ == "__main__":
    sys.exit(main())
