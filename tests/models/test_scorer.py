"""The score kernel against plain Python, compiled and (by test_jit_off.py) not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scorer import logistic, score

WEIGHTS = st.floats(-10, 10)


def run(x: list[float], weights: list[list[float]], bias: list[float]) -> list[float]:
    matrix = np.array(weights).reshape(len(bias), len(x))
    return [float(score(np.array(x), model, matrix, np.array(bias))) for model in range(len(bias))]


def twin(x: list[float], weights: list[float], bias: float) -> float:
    logit = bias + math.fsum(w * value for w, value in zip(weights, x, strict=True))
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


@settings(deadline=None)
@given(st.data(), st.integers(0, 41), st.integers(1, 3))
def test_score_is_the_logistic_of_the_sum(data: st.DataObject, features: int, models: int) -> None:
    x = data.draw(st.lists(WEIGHTS, min_size=features, max_size=features))
    rows = st.lists(WEIGHTS, min_size=features, max_size=features)
    weights = data.draw(st.lists(rows, min_size=models, max_size=models))
    bias = data.draw(st.lists(WEIGHTS, min_size=models, max_size=models))
    found = run(x, weights, bias)
    expected = [twin(x, row, one) for row, one in zip(weights, bias, strict=True)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("logit", "expected"), [(0.0, 0.5), (1e308, 1.0), (-1e308, 0.0), (math.inf, 1.0), (-math.inf, 0.0)]
)
def test_logistic_does_not_overflow(logit: float, expected: float) -> None:
    assert logistic(logit) == expected


@settings(deadline=None)
@given(st.floats(-700, 700))
def test_logistic_mirrors(logit: float) -> None:
    assert logistic(logit) + logistic(-logit) == pytest.approx(1.0, abs=1e-15)
    assert logistic(logit) == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-13)
