"""streams/kernels/jit_cache.py: machine code goes when a source changes that it was made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streams.kernels import jit_cache
from streams.kernels.jit_cache import Locked, sources, stamp

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package `streams.kernels` whose kernel `two` calls a function of `one`, which has a constant of `three`."""
    package = tmp_path / "streams" / "kernels"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    for name in ("jit", "jit_cache"):
        shutil.copy(ROOT / "streams" / "kernels" / f"{name}.py", package)
    (package / "three.py").write_text("STEP = 1\n")
    (package / "one.py").write_text(
        "from .jit import inlined\nfrom .three import STEP\n\n\n"
        "@inlined\ndef next_one(x: int) -> int:\n    return x + STEP\n"
    )
    (package / "two.py").write_text(
        "from .jit import kernel\nfrom .one import next_one\n\n\n"
        "@kernel\ndef run(x: int) -> int:\n    return next_one(x)\n"
    )
    (package / "alone.py").write_text("from streams.kernels import three\n")
    (package / "other.py").write_text("import os, streams.kernels.alone\n")
    return tmp_path


def ran(tree: Path) -> tuple[int, int]:
    """What the kernel says, and how often it was found compiled."""
    code = "from streams.kernels.two import run; print(run(41), sum(run.stats.cache_hits.values()))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, env=environment, capture_output=True, text=True, check=True
    )
    value, hits = done.stdout.split()
    return int(value), int(hits)


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_a_kernel_is_compiled_again_when_what_it_calls_has_changed(tree: Path) -> None:
    assert ran(tree) == (42, 0)
    assert ran(tree) == (42, 1)
    (tree / "streams" / "kernels" / "three.py").write_text("STEP = 2\n")
    assert ran(tree) == (43, 0)
    assert ran(tree) == (43, 1)
    (tree / "streams" / "kernels" / "alone.py").write_text("# has no part in it\n")
    assert ran(tree) == (43, 1)


@pytest.mark.parametrize("name", ["two", "one", "alone", "other"])
def test_a_stamp_is_of_all_that_is_imported(tree: Path, name: str) -> None:
    path = tree / "streams" / "kernels" / f"{name}.py"
    before = stamp(path, tree)
    stamp.cache_clear()
    assert stamp(path, tree) == before
    (tree / "streams" / "kernels" / "three.py").write_text("STEP = 5\n")
    stamp.cache_clear()
    jit_cache._digest.cache_clear()
    assert stamp(path, tree) != before


def test_the_pass_is_made_of_the_rows_the_folds_and_the_scores() -> None:
    found = sources(ROOT / "pipeline" / "step.py")
    names = {str(path.relative_to(ROOT)) for path in found}
    assert {
        "streams/state/rows.py",
        "customers/row/fold.py",
        "models/scoring/forest.py",
        "decisions/policies/program.py",
    } <= names
    assert not any(name.startswith(("agents/", "tests/")) for name in names)


SAVES = """
import sys
from streams.kernels.jit_cache import Locked

folder, process = sys.argv[1:]
kept = Locked(folder, "kernel", "stamp")
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    kept.save((process, number), f"code of {process} {number}")
"""


def test_processes_that_fill_the_cache_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVES, str(tmp_path)]
    processes = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in "abc"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    kept = Locked(str(tmp_path), "kernel", "stamp")
    for name in "abc":
        for number in range(50):
            assert kept.load((name, number)) == f"code of {name} {number}"


FILL = """
from pathlib import Path

from operations.kernels import fill_cache

fill_cache(Path("config"), print)
"""

WORKER = """
from streams.kernels.jit import _kernels
from models.learning import warm as warm_learning
from models.recommendation import warm as warm_recommendation
from pipeline.config import load_config
from pipeline.live_pass import LivePass
from pipeline.warmup import warm

warm(LivePass(load_config("config")))
warm_recommendation()
warm_learning()
hits, misses = ({kernel.__name__ for kernel in _kernels if counts(kernel)} for counts in (
    lambda kernel: kernel.stats.cache_hits, lambda kernel: kernel.stats.cache_misses))
print(len(hits), *sorted(misses))
"""


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_a_role_compiles_nothing_once_the_cache_is_filled() -> None:
    for code in (FILL, WORKER):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=280
        )
    hits, *misses = done.stdout.split()
    assert int(hits) > 20  # those that Python calls; what they call came with them
    assert misses == []
