"""models/learning/kalman.py: one pass over the examples gives what a fit of all of them would, and no example
overshoots."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.learning.kalman import expected, implicit, step

SIZE = 6
LARGEST = 12.0


class Regression:
    """`models.learning.kalman.step` with its arrays."""

    def __init__(self, *, variance: float = 1.0, move: float = 0.0, amounts: bool = False) -> None:
        self.most = np.full(SIZE, variance)
        self.weights, self.spread = np.zeros(SIZE), np.diag(self.most)
        self.move, self.amounts = move, amounts

    def learn(self, x: NDArray[np.float64], target: float, dispersion: float = 1.0) -> None:
        step(
            self.weights, self.spread, x, np.empty(SIZE), self.most, self.move, target, dispersion, LARGEST,
            self.amounts,
        )  # fmt: skip


def examples(
    count: int, truth: NDArray[np.float64], seed: int = 3
) -> list[tuple[NDArray[np.float64], float]]:
    draw = np.random.default_rng(seed)
    found = draw.normal(size=(count, SIZE))
    found[:, 1] = 0.9 * found[:, 0] + 0.4 * found[:, 1]  # two that say nearly the same
    return [(x, float(draw.random() < 1.0 / (1.0 + math.exp(-x @ truth)))) for x in found]


TRUTH = np.array([0.5, -1.0, 0.0, 1.5, 0.3, -0.2])


def fitted(data: list[tuple[NDArray[np.float64], float]], variance: float) -> NDArray[np.float64]:
    """The slow, obvious twin: the most likely weights under the same prior, by Newton's method over all examples."""
    x, y = np.array([one for one, _ in data]), np.array([label for _, label in data])
    weights = np.zeros(SIZE)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-x @ weights))
        slope = x.T @ (y - p) - weights / variance
        curvature = (x * (p * (1.0 - p))[:, None]).T @ x + np.eye(SIZE) / variance
        weights += np.linalg.solve(curvature, slope)
    return weights


@pytest.mark.parametrize("count", [100, 1000, 5000])
def test_one_pass_gives_what_a_fit_of_all_examples_gives(count: int) -> None:
    data, regression = examples(count, TRUTH), Regression()
    for x, label in data:
        regression.learn(x, label)
    uncertain = np.sqrt(np.diag(regression.spread))
    assert (np.abs(regression.weights - fitted(data, 1.0)) < 0.5 * uncertain).all()


def test_it_knows_how_little_it_knows() -> None:
    """The truth lies within two deviations of the weights nineteen times of twenty."""
    within = []
    for seed in range(60):
        regression = Regression()
        for x, label in examples(400, TRUTH, seed):
            regression.learn(x, label)
        within += (np.abs(regression.weights - TRUTH) < 2.0 * np.sqrt(np.diag(regression.spread))).tolist()
    assert 0.9 < np.mean(within) < 0.99


def test_what_was_learned_long_ago_is_forgotten() -> None:
    forgets, keeps = Regression(move=1e-4), Regression()
    for x, label in [*examples(4000, TRUTH), *examples(4000, -TRUTH, seed=4)]:
        forgets.learn(x, label)
        keeps.learn(x, label)
    assert np.abs(forgets.weights + TRUTH).max() < 0.5
    assert np.abs(keeps.weights).max() < 0.5


def test_amounts_are_learned_on_a_logarithmic_scale() -> None:
    draw, regression = np.random.default_rng(1), Regression(amounts=True)
    for x in draw.normal(size=(8000, SIZE)):
        regression.learn(x, float(draw.gamma(2.0, math.exp(0.4 * x @ TRUTH) / 2.0)))
    assert regression.weights == pytest.approx(0.4 * TRUTH, abs=0.06)


@given(
    before=st.floats(-30, 30),
    room=st.floats(1e-9, 1e6),
    target=st.sampled_from([0.0, 1.0, 0.3, 33.0]),
    amounts=st.booleans(),
)
def test_a_step_is_the_only_one_that_meets_its_own_error(
    before: float, room: float, target: float, amounts: bool
) -> None:
    change = implicit(before, room, target, LARGEST, amounts)
    missing = target - expected(before + change, LARGEST, amounts)
    assert change * (target - expected(before, LARGEST, amounts)) >= 0.0
    assert abs(change) <= room * abs(target - expected(before, LARGEST, amounts)) + 1e-9
    steepest = room * (expected(before + change, LARGEST, True) if amounts else 0.25)
    assert abs(change - room * missing) <= 1e-8 * (1.0 + steepest) * (1.0 + abs(change))


@given(
    values=st.lists(st.lists(st.floats(-8, 8), min_size=SIZE, max_size=SIZE), min_size=1, max_size=60),
    labels=st.lists(st.sampled_from([0.0, 1.0, 33.0]), min_size=60, max_size=60),
    amounts=st.booleans(),
)
def test_whatever_comes_the_covariance_stays_one(
    values: list[list[float]], labels: list[float], amounts: bool
) -> None:
    regression = Regression(variance=0.05, move=1e-7, amounts=amounts)
    for x, label in zip(values, labels, strict=False):
        regression.learn(np.array(x), label if amounts else min(label, 1.0))
    assert np.isfinite(regression.weights).all()
    assert (regression.spread == regression.spread.T).all()
    assert np.linalg.eigvalsh(regression.spread)[0] > -1e-12
    assert (np.diag(regression.spread) <= regression.most).all()
