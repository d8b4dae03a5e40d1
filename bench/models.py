"""How fast models learn and score, and how well the readers of messages and baskets do.

`learn_examples_per_s`: the shipped mixture with the shipped features, refits of the trees included, on one core; the
examples are synthetic (drawn with a seed). `score_us_per_row`: one row by one such mixture, its trees and all, in the
kernel that the worker calls. Sentiment is measured on rated tweets and review sentences (`bench/model_sentiment.py`),
recommendations on Complete Journey (`bench/model_recommend.py`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bench import model_recommend, model_sentiment
from bench.drawn import drawn
from bench.report import keep, say
from config.settings import load_settings
from models.config import load_models
from models.example import Example
from models.learner import Learner
from models.scorer import Weights, score
from models.snapshot import no_weights

EXAMPLES = 80_000  # the replay buffer is full after 50,000
ROWS = 1024
SCORES = 200_000
RUNS = 5


@njit(nogil=True, error_model="numpy")
def _scores(rows: NDArray[np.float64], count: int, weights: Weights) -> float:
    total = 0.0
    for number in range(count):
        total += score(rows[number % len(rows)], 0, weights)
    return total


def learn(names: tuple[str, ...]) -> tuple[float, Learner, NDArray[np.float64]]:
    """Examples a second of CPU, the learner, and rows to score."""
    x, labels = drawn(len(names), EXAMPLES)
    examples = [
        Example(f"{at}", "c", "m", label, at, at, at, 0.5, 0, tuple(row))
        for at, (row, label) in enumerate(zip(x.tolist(), labels.tolist(), strict=True), 1)
    ]
    learner = Learner("m", names)
    for example in examples[:100]:  # compiles the kernels
        learner.learn(example)
    start_s = time.process_time()
    for example in examples[100:]:
        learner.learn(example, 0, example.due)
    return (EXAMPLES - 100) / (time.process_time() - start_s), learner, x[:ROWS].astype(np.float64)


def score_us(learner: Learner, rows: NDArray[np.float64]) -> float:
    """CPU microseconds a row, the median of several runs."""
    snapshot = learner.snapshot(0)
    weights = no_weights(1, rows.shape[1])
    snapshot.put(weights, 0)
    _scores(rows, 10, weights)
    times = []
    for _ in range(RUNS):
        start_s = time.process_time()
        _scores(rows, SCORES, weights)
        times.append((time.process_time() - start_s) / SCORES * 1e6)
    return statistics.median(times)


def run() -> dict[str, Any]:
    """All figures."""
    names = load_models(load_settings().config / "models.yaml").names
    per_s, learner, rows = learn(names)
    say(f"learn: {per_s:,.0f} examples/s a core")
    us = score_us(learner, rows)
    say(f"score: {us:.2f} us a row")
    sentiment = model_sentiment.run()
    say(f"sentiment: {sentiment}")
    recommend = model_recommend.run()
    say(f"recommend: {recommend}")
    return {
        "learn_examples_per_s": per_s,
        "score_us_per_row": us,
        "sentiment": sentiment,
        "recommend": {
            "recall_at_10": recommend["recall_at_10"],
            "popular": recommend["popular"],
            "own_frequent": recommend["own_frequent"],
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    parser.parse_args(argv)
    figures = run()
    keep("models", figures)
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
