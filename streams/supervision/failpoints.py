"""Failpoints: named points between the steps of a commit where a test makes the process die or hang.

They are off unless a test or the fault bench arms one: `rows:3` ends the process, as `kill -9` would, when it reaches
the step `rows` for the third time; `rows:3:hang` lets it hang there for ever. So a test shows that nothing is lost.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence

from streams.errors import ConfigError

Points = dict[str, Callable[[], None]]


def arm(
    spec: str, points: Points, known: Sequence[str], *, counts: Callable[[], bool] = lambda: True
) -> None:
    """Put the hook that `spec` asks for into `points`; do nothing when it is empty or names another role's point.

    The hook counts only the times when `counts()` is true.
    """
    if not spec:
        return
    name, _, rest = spec.partition(":")
    count, _, how = rest.partition(":")
    if not count.isdecimal() or how not in ("", "hang"):
        raise ConfigError("failpoint", None, f"expected POINT:COUNT[:hang], got {spec!r}")
    if name in known:
        points[name] = _at(int(count), counts, _hang if how == "hang" else _die)


def reached(points: Points, name: str) -> None:
    """Call the hook of this point, if any."""
    hook = points.get(name)
    if hook is not None:
        hook()


def _at(count: int, counts: Callable[[], bool], act: Callable[[], None]) -> Callable[[], None]:
    left = count

    def hook() -> None:
        nonlocal left
        left -= counts()
        if left == 0 and counts():
            act()

    return hook


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    threading.Event().wait()
