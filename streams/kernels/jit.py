"""Compiles every kernel, and lets one prefetch memory.

Kernels are cached on disk, run without the interpreter lock and divide as IEEE 754 says. They never allocate, so
Numba's reference counting is off: with it, to pass a few dozen arrays from function to function cost ten times the
work itself (measured: 8 microseconds an event against 0.6).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic, overload

from .jit_cache import install, is_kept

install()

R = TypeVar("R")

OPTIONS: dict[str, Any] = {
    "cache": True, "nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True
}  # fmt: skip
LINE_BYTES = 64  # of a cache line

_kernels: list[Any] = []  # those of the imported modules


def kernel(function: Callable[..., R]) -> Callable[..., R]:
    """Compile `function` on its first call. Argument types go unchecked: Numba takes an `np.int64` for an `int`."""
    compiled: Callable[..., R] = njit(**OPTIONS)(function)
    if isinstance(compiled, Dispatcher):  # a plain function if NUMBA_DISABLE_JIT is set
        _kernels.append(compiled)
    return compiled


def inner(function: Callable[..., R]) -> Callable[..., R]:
    """Compile `function` for calls from other kernels only.

    It has no wrapper for Python: a wrapper unpacks each argument, and with dozens of arrays it takes longer to compile
    than the kernel itself.
    """
    return _without_wrapper(njit(**OPTIONS, no_cpython_wrapper=True)(function))


def inlined(function: Callable[..., R]) -> Callable[..., R]:
    """Compile `function` into each kernel that calls it: for small functions in inner loops."""
    return _without_wrapper(njit(**OPTIONS, no_cpython_wrapper=True, forceinline=True)(function))


class _Inner(CPUDispatcher):  # type: ignore[misc]
    """Refuses a call from Python, as Numba would call a wrapper that does not exist."""

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"{self.__name__} has no wrapper for Python: only a kernel can call it")


def _without_wrapper(compiled: Callable[..., R]) -> Callable[..., R]:
    if isinstance(compiled, Dispatcher):
        compiled.__class__ = _Inner
        _kernels.append(compiled)
    return compiled


def kept() -> tuple[int, int]:
    """Count the kernels of the imported modules: (those in the cache, all)."""
    return sum(map(is_kept, _kernels)), len(_kernels)


def prefetch(array: Any, at: Any) -> None:
    """Prefetch the cache line of element `at` of a contiguous array, counted over all its dimensions.

    It neither waits for the line nor reads the element, so `at` may lie outside. Uncompiled it does nothing.
    """


@intrinsic
def _prefetch(context: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        flag = ir.IntType(32)
        ask = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, flag, flag, flag]),
            "llvm.prefetch.p0i8",
        )
        # https://llvm.org/docs/LangRef.html#llvm-prefetch-intrinsic: for reading, into all caches, data
        builder.call(ask, [address, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@overload(prefetch, jit_options={"_nrt": False, "nogil": True, "forceinline": True})
def _compiled(array: Any, at: Any) -> Any:
    def ask(array: Any, at: Any) -> None:
        _prefetch(array, at)

    return ask


def for_kernels_only(function: Any) -> bool:
    """Return whether `function` is compiled without a wrapper, so that Python cannot call it."""
    return isinstance(function, _Inner)
