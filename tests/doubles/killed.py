"""A command that is killed as it calls a given function for the n-th time.

python -m tests.doubles.killed MODULE:FUNCTION N ARGUMENTS...
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any

import cli


def main(place: str, count: int, arguments: list[str]) -> None:
    module, _, names = place.partition(":")
    *owners, method = names.split(".")
    owner: Any = import_module(module)
    for name in owners:
        owner = getattr(owner, name)
    whole = getattr(owner, method)
    calls = 0

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*given, **named)

    setattr(owner, method, counted)
    cli.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
