"""Measures how fast models learn and score, and the quality of sentiment and recommendations.

`learn_examples_per_s`: the shipped mixture learns all `purchase` examples of Complete Journey in order on one core,
refits of the trees included. `score_us_per_row`: it scores one row, trees included, in the kernel that the worker
calls. Sentiment is measured on rated tweets and review sentences (`bench/quality/sentiment.py`), recommendations on
Complete Journey (`bench/quality/recommend.py`).
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

from bench.harness import keep, say
from bench.quality import recommend as model_recommend
from bench.quality import sentiment as model_sentiment
from config.settings import load_settings
from ingest.open_source import source
from models.learning import Learner
from models.scoring import Weights, no_weights, score
from operations.evaluate import Trial
from pipeline.config import load_config

MODEL = "purchase"
ROWS = 1024
SCORES = 200_000
RUNS = 5


@njit(nogil=True, error_model="numpy")
def _scores(rows: NDArray[np.float64], count: int, weights: Weights) -> float:
    total = 0.0
    for number in range(count):
        total += score(rows[number % len(rows)], 0, weights)
    return total


def learn() -> tuple[float, Learner, NDArray[np.float64]]:
    """Return examples learned per second of CPU, the learner, and rows to score."""
    trial = Trial(load_config(load_settings().config), source("complete-journey"))
    trial.run()
    examples = list(trial.evaluation.examples(MODEL))
    learner = Learner(MODEL, trial.evaluation.features)
    start_s = time.process_time()
    for offset, example in enumerate(examples):
        learner.learn(example, 0, offset)
    seconds = time.process_time() - start_s
    rows = np.array([example.features for example in examples[-ROWS:]], np.float64)
    return len(examples) / seconds, learner, rows


def score_us(learner: Learner, rows: NDArray[np.float64]) -> float:
    """Return CPU microseconds per row, the median of several runs."""
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
    """Measure and return all figures."""
    per_s, learner, rows = learn()
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
