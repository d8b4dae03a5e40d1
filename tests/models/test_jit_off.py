"""The kernels' tests again without compilation: what runs compiled must also run in a debugger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "name",
    [
        "scoring/test_features.py",
        "scoring/test_scorer.py",
        "learning/test_kalman.py",
        "recommendation/test_recommender.py",
    ],
)
def test_kernels_pass_uncompiled(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / name)],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
