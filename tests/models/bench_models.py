"""How fast features, scores and learning are: `python -m tests.models.bench_models`. Not a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.config import load_models
from models.example import Example
from models.learner import Learner
from models.scorer import score
from models.transform import Plan, transform

CONFIG = Path(__file__).parents[2] / "config" / "models.yaml"
ROWS, EVENTS, EXAMPLES, RUNS = 1024, 500_000, 5_000, 7


@njit(nogil=True, error_model="numpy")
def _events(
    events: int,
    rows: NDArray[np.float64],
    codes: NDArray[np.int64],
    missing: NDArray[np.float64],
    calendar: NDArray[np.int64],
    weights: NDArray[np.float64],
    bias: NDArray[np.float64],
    scoring: bool,
) -> float:
    x, out, total = np.zeros(rows.shape[1]), np.zeros(len(bias)), 0.0
    for event in range(events):
        transform(rows[event & 1023], 1.5e12 + 977.0 * event, codes, missing, calendar, x)
        if scoring:
            for model in range(len(bias)):
                out[model] = score(x, model, weights, bias)
        total += x[0] + out[0]
    return total


def main() -> None:
    config = load_models(CONFIG)
    plan, draw, models = Plan.of(config.features), np.random.default_rng(0), len(config.models)
    rows = draw.lognormal(2, 3, (ROWS, len(config.features)))
    rows[draw.random(rows.shape) < 0.1] = np.nan
    weights = draw.normal(size=(models, rows.shape[1])) / 10
    fixed = (rows, plan.codes, plan.missing, plan.calendar, weights, np.zeros(models))
    for name, scoring in (("transform", False), ("transform and score", True)):
        _events(10, *fixed, scoring)
        best_s = min(_timed(partial(_events, EVENTS, *fixed, scoring)) for _ in range(RUNS))
        print(f"{name}: {best_s / EVENTS * 1e9:.0f} ns an event, {rows.shape[1]} features, {models} models")
    vectors = [tuple(row) for row in np.log1p(np.nan_to_num(rows)).tolist()]
    examples = [Example("", "", "m", n % 3 // 2, 0, 1, 1, 0.5, 0, vectors[n % ROWS]) for n in range(EXAMPLES)]
    learner = Learner("m", config.names)
    best_s = min(_timed(lambda: [learner.learn(one) for one in examples]) for _ in range(RUNS))
    print(f"learn: {EXAMPLES / best_s:,.0f} examples/s")
    print(f"snapshot: {_timed(lambda: learner.snapshot(0)) * 1e3:.1f} ms, {len(learner.state()):,} bytes")


def _timed(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
