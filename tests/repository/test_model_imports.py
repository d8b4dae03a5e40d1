"""What models/ may import, and what the worker must not be made to import by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def loaded(*modules: str) -> set[str]:
    """The modules in a fresh interpreter after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_worker_imports_no_river() -> None:
    worker = loaded(
        "models.config", "models.scoring.features", "models.scoring.scorer", "models.scoring.snapshot"
    )
    assert not worker & {"river", "polars", "pandas", "lightgbm"}


def test_models_know_neither_faust_nor_kafka_nor_our_engine() -> None:
    files = (ROOT / "models").rglob("*.py")
    every = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files
    ]
    found = loaded(*every)
    assert "models.learning.learner" in found
    assert not found & {
        "faust",
        "aiokafka",
        "confluent_kafka",
        "agents",
        "serving",
        "customers",
        "decisions",
        "pipeline",
    }
    of_streams = {name for name in found if name.startswith("streams.")}
    assert "streams.errors" in of_streams
    assert {name for name in of_streams if not name.startswith("streams.kernels")} == {"streams.errors"}
