"""The kernels' tests again without compilation: what runs compiled must also run in a debugger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Without the JIT an unsigned sum that wraps, as hashes do, warns.
WARNINGS = ["-W", "ignore:overflow encountered:RuntimeWarning"]


def test_kernels_pass_uncompiled() -> None:
    modules = (
        "avro/encoder", "batches/find_records", "engine/inbox", "kernels/hashing", "kernels/jit", "kernels/utf8",
        "kernels/varint", "state/deadline_heap", "state/key_index", "state/migration", "state/rows",
    )  # fmt: skip
    names = [str(HERE / module.replace("/", "/test_")) + ".py" for module in modules]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *WARNINGS, *names],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
