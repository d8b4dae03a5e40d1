"""models/metrics.py against cases worked by hand and against slow definitions."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import (
    Window,
    amount_figures,
    auc,
    brier,
    ece,
    ece_by_chance,
    figures,
    log_loss,
    mae,
    rmse,
    spearman,
)  # fmt: skip

PAIRS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 8).map(lambda n: n / 8)), min_size=1, max_size=30
)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),  # of the four pairs only (0.35, 0.4) is wrong
        ([0, 1], [0.5, 0.5], 0.5),
        ([0, 1, 1], [0.5, 0.5, 0.9], 0.75),  # one tie of two pairs
        ([1, 0], [0.0, 1.0], 0.0),
    ],
)
def test_auc_by_hand(labels: list[int], scores: list[float], expected: float) -> None:
    assert auc(labels, scores) == expected


@settings(deadline=None)
@given(PAIRS)
def test_auc_counts_pairs(pairs: list[tuple[int, float]]) -> None:
    ones = [score for label, score in pairs if label]
    zeros = [score for label, score in pairs if not label]
    found = auc([label for label, _ in pairs], [score for _, score in pairs])
    if not ones or not zeros:
        assert math.isnan(found)
        return
    wins = sum((one > zero) + (one == zero) / 2 for one, zero in itertools.product(ones, zeros))
    assert found == pytest.approx(wins / (len(ones) * len(zeros)))


def test_log_loss_by_hand() -> None:
    assert log_loss([1, 0], [0.8, 0.4]) == pytest.approx((-math.log(0.8) - math.log(0.6)) / 2)


def test_log_loss_of_a_wrong_certainty_is_finite() -> None:
    assert log_loss([1], [0.0]) == pytest.approx(-math.log(1e-7))
    assert log_loss([0], [1.0]) == pytest.approx(-math.log(1e-7))


def test_brier_by_hand() -> None:
    assert brier([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)


def test_errors_of_amounts_by_hand() -> None:
    assert mae([1.0, 2.0, 9.0], [2.0, 2.0, 5.0]) == pytest.approx(5 / 3)
    assert rmse([1.0, 2.0, 9.0], [2.0, 2.0, 5.0]) == pytest.approx(math.sqrt(17 / 3))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_spearman_is_the_correlation_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    def ranks(values: list[int]) -> list[float]:
        return [
            sum(other < one for other in values) + (sum(other == one for other in values) + 1) / 2
            for one in values
        ]

    labels, scores = ([pair[place] for pair in pairs] for place in (0, 1))
    found = spearman(labels, scores)
    if len(set(labels)) == 1 or len(set(scores)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(statistics.correlation(ranks(labels), ranks(scores)), abs=1e-12)


def test_ece_of_equal_mass_by_hand() -> None:
    # Bins in score order: (0, 0 | 0.1, 0.3), (1, 0 | 0.5, 0.9): gaps 0.2 and 0.2.
    assert ece([1, 0, 0, 0], [0.5, 0.1, 0.3, 0.9], bins=2) == pytest.approx(0.2)


def test_ece_of_equal_width_by_hand() -> None:
    # Below a half: mean label 0, mean score 0.2; above: 1/2 and 0.7.
    found = ece([0, 0, 1, 0], [0.1, 0.3, 0.5, 0.9], bins=2, equal="width")
    assert found == pytest.approx((2 * 0.2 + 2 * 0.2) / 4)
    assert ece([1, 1], [1.0, 1.0], equal="width") == 0.0


@pytest.mark.parametrize("count", [300, 3000, 30_000])
def test_scores_that_are_the_true_chances_have_the_ece_of_chance(count: int) -> None:
    draw = np.random.default_rng(7)
    scores = draw.beta(1.0, 6.0, count)
    found = [ece(draw.random(count) < scores, scores) for _ in range(200)]
    assert np.mean(found) == pytest.approx(ece_by_chance(scores), rel=0.1)
    assert math.isnan(ece_by_chance([]))


def test_ece_with_fewer_examples_than_bins() -> None:
    assert ece([1], [0.75]) == 0.25


def test_nothing_is_nan() -> None:
    assert all(math.isnan(figure([], [])) for figure in (auc, log_loss, brier, ece, mae, rmse, spearman))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        auc([1, 0], [0.5])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1, width=32)), max_size=40), st.integers(1, 12))
def test_window_is_exact_over_the_latest(pairs: list[tuple[int, float]], size: int) -> None:
    window = Window(size)
    for label, score in pairs:
        window.add(label, score)
    labels = np.array([label for label, _ in pairs[-size:]])
    scores = np.array([score for _, score in pairs[-size:]])
    found = figures(*window.kept())
    for name, exact in (("auc", auc), ("log_loss", log_loss), ("brier", brier)):
        expected = exact(labels, scores)
        if math.isnan(expected):
            assert name not in found
        else:
            assert found[name] == pytest.approx(expected, abs=1e-12)


def test_window_restores_unchanged() -> None:
    window = Window(5)
    for n in range(8):
        window.add(n % 2, n / 8)
    again = Window.restore(**window.state())  # type: ignore[arg-type]
    for one in (window, again):
        one.add(1, 0.3)
    assert again.state() == window.state()


def test_window_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        Window.restore(count=3, size=5, scores=bytes(8), labels=bytes(12))


def test_amounts_are_judged_by_their_errors_and_ranks() -> None:
    labels, scores = [0.0, 10.0, 4.0, 0.0], [1.0, 7.0, 4.0, 2.0]
    found = amount_figures(labels, scores)
    assert found["mae"] == pytest.approx(6 / 4)
    assert found["rmse"] == pytest.approx(math.sqrt(14 / 4))
    assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(labels, scores).statistic)
    assert math.isnan(spearman([1.0, 1.0], [1.0, 2.0]))
    assert amount_figures([], []) == {}
