"""Fills Numba's cache with every kernel that a role calls, on two processors."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from models.recommendation import warm as warm_recommendation
from pipeline.config import load_config
from pipeline.live_pass import LivePass
from pipeline.warmup import exercise_loop, exercise_others
from pipeline.warmup import warm as warm_pass
from streams.kernels import kept

TELL_S = 5.0


def fill_cache(folder: Path, told: Callable[[int, int], None]) -> float:
    """Compile every kernel, or load it from the cache; returns the seconds it took. `folder`: of the config.

    The loop over events takes longer than all others together: another process compiles them meanwhile. `told` hears
    every few seconds how many kernels the cache has, and how many there are.
    """
    began = time.perf_counter()
    work = LivePass(load_config(folder))
    done, count = kept()
    if done < count // 2 and (os.cpu_count() or 1) > 1:
        with _told(told), _others_compiled(folder):
            exercise_loop(work)
    warm_pass(work)
    _warm_others()
    return time.perf_counter() - began


@contextmanager
def _others_compiled(folder: Path) -> Iterator[None]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        others = pool.submit(_compile_others, folder)
        yield
        others.result()


def _compile_others(folder: Path) -> None:
    exercise_others(LivePass(load_config(folder)))
    _warm_others()


def _warm_others() -> None:
    """The kernels that no worker runs. The learner's packages may be left out where only workers run."""
    warm_recommendation()
    if find_spec("river") is not None:
        from models.learning import warm as warm_learning

        warm_learning()


@contextmanager
def _told(told: Callable[[int, int], None]) -> Iterator[None]:
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(TELL_S):
            told(*kept())

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
