"""A prefetch asks for memory and changes nothing, wherever it points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import config, njit

from streams.kernels.jit import OPTIONS, inner, kernel, prefetch


@kernel
def asked(numbers: Any, table: Any, at: int) -> int:
    """Prefetch element `at` of an array of one dimension and of one of two."""
    prefetch(numbers, at)
    prefetch(table, at)
    return at + 1


@pytest.mark.parametrize("at", [0, 11, -1, 12, 1 << 40, -(1 << 40)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_a_prefetch_changes_nothing(at: int, dtype: Any) -> None:
    numbers = np.arange(12).astype(dtype)
    table = numbers.reshape(3, 4).copy()
    assert asked(numbers, table, at) == at + 1
    assert numbers.tolist() == table.ravel().tolist() == list(range(12))


def test_an_array_that_is_empty() -> None:
    assert asked(np.empty(0), np.empty((0, 4)), 3) == 4


def test_uncompiled_a_prefetch_does_nothing() -> None:
    numbers = np.arange(3)
    prefetch(numbers, 99)
    assert numbers.tolist() == [0, 1, 2]


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
def test_compiled_it_is_an_instruction() -> None:
    function: Any = asked
    # what comes from the cache cannot be looked into
    anew = njit(**{**OPTIONS, "cache": False})(function.py_func)
    anew(np.zeros(1), np.zeros((1, 1)), 0)
    assert all("llvm.prefetch" in code for code in anew.inspect_llvm().values())


@inner
def doubled(number: int) -> int:
    return 2 * number


@kernel
def quadrupled(number: int) -> int:
    return doubled(doubled(number))


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="nothing is compiled")
def test_only_a_kernel_can_call_what_has_no_wrapper_for_python() -> None:
    assert quadrupled(3) == 12
    with pytest.raises(TypeError, match="doubled has no wrapper for Python"):
        doubled(3)
