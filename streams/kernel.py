"""How every kernel is compiled.

Cached on disk, without the interpreter lock, with IEEE division. Kernels never allocate, so Numba's reference
counting is off: with it, handing a few dozen arrays from function to function cost ten times the work itself
(measured: 8 microseconds an event against 0.6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

R = TypeVar("R")

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}


def kernel(function: Callable[..., R]) -> Callable[..., R]:
    """Compile `function` on its first call. Its arguments go unchecked: Numba takes an `np.int64` for an `int`."""
    compiled: Callable[..., R] = njit(**OPTIONS)(function)
    return compiled


def inlined(function: Callable[..., R]) -> Callable[..., R]:
    """Compile `function` into each of its callers: for small ones in inner loops."""
    compiled: Callable[..., R] = njit(**OPTIONS, forceinline=True)(function)
    return compiled
