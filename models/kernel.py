"""How the kernels here are compiled: as those of the engine are, which call them in its pass.

Cached on disk, without the interpreter lock, with IEEE division and nothing reassociated; without Numba's
reference counting, as they never allocate, so that arrays are handed over for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` on its first call."""
    compiled: F = njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function)
    return compiled
