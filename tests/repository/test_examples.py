"""Promise: what the rooms of configuration and of numbers offer says how it is used, and the examples run."""

from __future__ import annotations

import doctest
import importlib
import os
import subprocess
import sys
from types import FunctionType
from typing import Any, Final

import numpy as np
import pytest

from config.settings import ROOT, load_settings
from streams.kernels.jit import for_kernels_only

# Rooms whose functions people call with values that they write by hand.
ROOMS: Final = (
    "config.located_yaml",
    "decisions.conditions",
    "decisions.policies",
    "ingest.files",
    "models.config",
    "models.evaluation",
    "models.forecasting",
    "models.learning",
    "models.metrics",
    "models.recommendation",
    "models.scoring",
    "models.selection",
    "models.text",
    "streams.avro",
)
OPTIONS: Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def functions() -> list[tuple[str, Any]]:
    """The functions that these rooms offer, compiled ones as they were written."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        offered = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        for name in offered:
            value = getattr(module, name)
            function = getattr(value, "py_func", value)
            own = hasattr(module, "__path__") or getattr(function, "__module__", "") == room
            if isinstance(function, FunctionType) and own and not for_kernels_only(value):
                found[f"{room}.{name}"] = value
    return sorted(found.items())


@pytest.mark.parametrize(("name", "function"), functions(), ids=[name for name, _ in functions()])
def test_a_public_function_has_an_example_that_runs(name: str, function: Any) -> None:
    plain = getattr(function, "py_func", function)
    around = {**vars(importlib.import_module(plain.__module__)), plain.__name__: function, "np": np}
    around["CONFIG"] = load_settings().config
    parsed = doctest.DocTestParser().get_doctest(plain.__doc__ or "", around, name, plain.__module__, 0)
    assert parsed.examples, f"{name} has no example"
    said: list[str] = []
    done = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(parsed, out=said.append)
    assert done.failed == 0, "".join(said)


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="it is this test that sets it")
def test_examples_of_what_only_kernels_call_run_uncompiled() -> None:
    """Compiled, Python cannot call them; uncompiled they are functions like the others."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "streams.avro or scoring",
    ]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
