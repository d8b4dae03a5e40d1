"""A process dies, or hangs, at the point and the time it is told to; without being told nothing happens."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from streams.errors import ConfigError
from streams.supervision.failpoints import Points, arm, reached

SCRIPT = """
from streams.supervision.failpoints import arm, reached
points, seen = {{}}, []
arm({spec!r}, points, ["rows", "control"], counts=lambda: len(seen) > 1)
for number in range(1, 6):
    seen.append(number)
    reached(points, "control")
    reached(points, "rows")
    print(number, flush=True)
"""


def run(spec: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(spec=spec)], capture_output=True, text=True, timeout=60
    )


def test_it_dies_when_the_point_is_reached_as_often_as_asked_for() -> None:
    done = run("rows:3")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["1", "2", "3"]  # the first time did not count


def test_a_hang_stays() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(spec="control:1:hang")], capture_output=True, timeout=3
        )
    assert caught.value.stdout == b"1\n"


@pytest.mark.parametrize("spec", ["", "written:1"])
def test_without_one_of_its_own_nothing_is_armed(spec: str) -> None:
    points: Points = {}
    arm(spec, points, ["rows"])
    assert points == {}
    reached(points, "rows")


@pytest.mark.parametrize("spec", ["rows", "rows:x", "rows:1:sleep"])
def test_a_wrong_one_is_one_line(spec: str) -> None:
    with pytest.raises(ConfigError, match="expected POINT:COUNT"):
        arm(spec, {}, ["rows"])
