"""Memory of freed arrays is kept for the next ones."""

from __future__ import annotations

import ctypes

# https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
KEPT_BYTES = 1 << 30
STEP_BYTES = 64 << 20
LARGEST_KEPT_BYTES = 32 << 20  # glibc takes no more


def keep_memory() -> bool:
    """Tell glibc not to give the pages of freed arrays back; whether it took it (elsewhere nothing is done).

    A batch's columns are large enough to be mapped anew for each batch otherwise, and to fault a page in costs more
    than to decode what goes into it (measured: 7 microseconds a page on a virtual machine, a tenth of all work).
    Call it before threads are started: they share one arena then.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (_ARENA_MAX, 1), (_MMAP_THRESHOLD, LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, KEPT_BYTES), (_TOP_PAD, STEP_BYTES)
    )  # fmt: skip
    return all(mallopt(option, value) == 1 for option, value in wanted)
