"""Compiles the kernels before several processes want them at once."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from models.recommendation import warm as warm_recommendation
from pipeline.config import load_config
from pipeline.live_pass import LivePass
from pipeline.warmup import warm as warm_pass


def warm(config: Path) -> float:
    """Compile every kernel that a role runs, or load it from the cache; returns the seconds it took."""
    seconds = warm_pass(LivePass(load_config(config))) + warm_recommendation()
    if find_spec("river") is not None:  # the learner's packages may be left out where only workers run
        from models.learning import warm as warm_learning

        seconds += warm_learning()
    return seconds
