"""Compiles the kernels of the learner and of explanations ahead of the first example."""

from __future__ import annotations

import time

import numpy as np

from models.scoring import CELLS, LARGEST_LOGIT, LEAF, MIXTURE, Snapshot, Trees, cut, logistic

from .additive import Additive
from .mixture import Mixture
from .task import Binary

_STUMP = Trees(np.zeros(1, np.int32), np.array([LEAF], np.int16), np.zeros(1), np.zeros(1, np.int32))


def warm() -> float:
    """Call every kernel once, on values of no meaning; return the seconds it took.

    >>> warm() > 0.0
    True
    """
    started = time.perf_counter()
    x, experts = np.zeros(1), Additive(("a",), rate=0.1)
    experts.learn(x, 0.0)
    mixing = Mixture(Binary())
    mixing.learn(np.zeros(3), 0.0, 0, 0)
    mixing.logit(np.zeros(3))
    _STUMP.logit(x)
    logistic(cut(experts.correction(x), LARGEST_LOGIT))
    table = np.zeros(CELLS, "<f4").tobytes()
    snapshot = Snapshot(
        "m", 1, 0, MIXTURE, ("a",), 0.0, (0.0,), 0, mixing=(0.0,) * 4, table=table, trees=_STUMP.packed(),
        typical=(0.0,),
    )  # fmt: skip
    snapshot.score([0.0])
    snapshot.contributions([0.0])
    return time.perf_counter() - started
