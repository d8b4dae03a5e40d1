"""models/learning/cohorts.py: how far the examples that are due together are off together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.learning.cohorts import LARGEST_VARIANCE, Cohorts, CohortsState
from tests.reference.levels import mean_chance

_HORIZON = 800  # a cohort is 100 ms


def measured(cohorts: Sequence[Sequence[tuple[float, float]]]) -> Cohorts:
    """After these errors and their variances, a cohort each."""
    found = Cohorts()
    for number, cohort in enumerate(cohorts):
        for error, variance in cohort:
            found.enter(number * 100, _HORIZON)
            found.add(error, variance)
    return found


def made(deviation: float, *, cohorts: int = 100, size: int = 100, seed: int = 3) -> Cohorts:
    """Labels with a chance of logistic(level - 1), each taken for the mean over levels."""
    draw = np.random.default_rng(seed)
    p = float((1.0 / (1.0 + np.exp(1.0 - draw.normal(0.0, deviation, 100_000)))).mean())
    chances = 1.0 / (1.0 + np.exp(1.0 - draw.normal(0.0, deviation, cohorts)))
    return measured(
        [[(float(hit) - p, p * (1 - p)) for hit in draw.random(size) < chance] for chance in chances]
    )


@pytest.mark.parametrize("deviation", [0.3, 0.5, 0.8])
def test_the_variance_of_levels_is_found(deviation: float) -> None:
    found = np.mean([made(deviation, seed=seed).variance for seed in range(10)])
    assert math.sqrt(found) == pytest.approx(deviation, rel=0.15)


def test_examples_that_share_nothing_have_no_level() -> None:
    assert np.mean([made(0.0, seed=seed).variance for seed in range(10)]) < 0.01


def test_a_few_examples_and_cohorts_of_one_show_no_level() -> None:
    draw = np.random.default_rng(3)
    for _ in range(20):
        hits = (draw.random(1000) < 0.1).astype(float)
        assert measured([[(hit - 0.1, 0.09)] for hit in hits.tolist()]).variance < 0.15
        assert measured([[(hit - 0.1, 0.09) for hit in hits[:50].tolist()]]).variance < 0.3


@pytest.mark.parametrize("logit", [-4.0, -2.0, -0.5, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("deviation", [0.2, 0.5, 1.0, 2.0])
def test_a_shrunk_logit_is_the_mean_over_levels(logit: float, deviation: float) -> None:
    found = Cohorts()
    found.restore(CohortsState(above=1e9 * deviation**2, squares=1e9))
    chance = 1.0 / (1.0 + math.exp(-logit * found.shrinks))
    assert chance == pytest.approx(mean_chance(logit, deviation), abs=0.02)


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-1.0, 1.0), st.floats(0.0, 0.25)), min_size=1, max_size=5), max_size=20
    )
)
def test_it_is_what_the_sums_over_all_cohorts_give(cohorts: list[list[tuple[float, float]]]) -> None:
    """The slow twin: cohort by cohort, each older one counting a hundredth less, and a hundred that show nothing."""
    above, squares = 0.0, 100.0
    for age, cohort in enumerate(reversed(cohorts)):
        alone = sum(variance for _, variance in cohort)
        above += 0.99**age * (sum(error for error, _ in cohort) ** 2 - alone)
        squares += 0.99**age * alone**2
    found = measured(cohorts)
    assert 0.0 <= found.variance <= LARGEST_VARIANCE
    assert 0.0 < found.shrinks <= 1.0
    assert found.variance == pytest.approx(min(max(above / squares, 0.0), LARGEST_VARIANCE), abs=1e-9)


def test_a_cohort_is_an_eighth_of_a_horizon() -> None:
    found = Cohorts()
    assert [found.enter(due, 800) for due in (1000, 1000, 1099, 1100, 1150, 1200)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip
    assert found.enter(1150, 800)  # the clock went back
    assert found.enter(1150, 0)


def test_scores_that_were_sure_and_wrong_do_not_end_all_certainty() -> None:
    found = measured([[(1.0, 1e-9)] * 100] * 3)
    assert found.variance == LARGEST_VARIANCE
    assert found.shrinks > 0.6


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    first, again = made(0.5, cohorts=5), Cohorts()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()), type=CohortsState))
    for found in (first, again):
        found.enter(430, _HORIZON)
        found.add(0.3, 0.2)
    assert first.state() == again.state()
    assert first.variance == again.variance


@pytest.mark.parametrize(
    "spoilt",
    [{"began": -2}, {"error": math.nan}, {"alone": -1.0}, {"above": math.inf}, {"squares": -1e-9}],
    ids=str,
)
def test_what_is_no_state_is_refused(spoilt: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cohort of the mixture"):
        Cohorts().restore(msgspec.structs.replace(made(0.5).state(), **spoilt))
