"""models/selection/contest.py: the worse is never promoted, the better is, and a restart changes nothing."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from models.learning.task import Binary
from models.selection.contest import BEYOND_DOUBT, Contest, ContestState

LOSS = Binary().loss
RUNS = 100
EXAMPLES = 8000


def promoted(seed: int, gain: float, *, late: int = 0, examples: int = EXAMPLES) -> bool:
    """Whether a challenger wins that knows the log-odds of each example, or less.

    The champion sees the truth through noise; a `gain` below 0 adds noise to the challenger, above 0 takes some away.
    Until `late` examples the challenger says a half.
    """
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=examples)
    labels = (draw.random(examples) < 1 / (1 + np.exp(-truth))).astype(float)
    champion = 1 / (1 + np.exp(-(truth + draw.normal(size=examples) * 0.6)))
    challenger = 1 / (1 + np.exp(-(truth + draw.normal(size=examples) * (0.6 - gain))))
    challenger[:late] = 0.5
    contest = Contest()
    for one, other, label in zip(champion.tolist(), challenger.tolist(), labels.tolist(), strict=True):
        contest.add(LOSS(one, label), LOSS(other, label))
        if contest.won:
            return True
    return False


def test_a_poisoned_challenger_is_never_promoted_and_a_better_one_is() -> None:
    assert sum(promoted(seed, -0.2) for seed in range(RUNS)) == 0
    assert sum(promoted(seed, 0.2, examples=20_000) for seed in range(RUNS)) >= 95


def test_one_that_is_as_good_is_not_promoted() -> None:
    assert sum(promoted(seed, 0.0, examples=5000) for seed in range(20)) == 0


def test_one_that_learns_late_is_promoted_all_the_same() -> None:
    assert sum(promoted(seed, 0.3, late=2000) for seed in range(10)) == 10


def test_a_champion_that_turns_bad_half_way_is_found() -> None:
    """Alike at first: what the gambler keeps for later pays."""
    contest = Contest()
    draw = np.random.default_rng(1)
    for number in range(12_000):
        label = float(draw.random() < 0.7)
        contest.add(LOSS(0.7 if number < 8000 else 0.3, label), LOSS(0.7, label))
    assert contest.won


def test_it_begins_at_one_and_extremes_stay_finite() -> None:
    contest = Contest()
    assert contest.evidence == pytest.approx(1.0)
    for number in range(3000):
        contest.add(4.0 * (number % 2), 4.0 - 4.0 * (number % 3 > 0))
    assert np.isfinite(contest.evidence)
    sure = Contest()
    for _ in range(20_000):
        sure.add(4.0, 0.0)
    assert np.isfinite(sure.evidence)
    assert sure.evidence > BEYOND_DOUBT


def test_restored_it_goes_on_bit_for_bit() -> None:
    draw = np.random.default_rng(2)
    rows = draw.random((3000, 2)).tolist()
    whole, half = Contest(), Contest()
    for one, other in rows:
        whole.add(one, other)
    for one, other in rows[:1500]:
        half.add(one, other)
    again = Contest.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(half.state()), type=ContestState))
    for one, other in rows[1500:]:
        again.add(one, other)
    assert again.state() == whole.state()


NONE = [(1, 0.0, [0.0]), (1, float("nan"), [0.0] * 144), (-1, 0.0, [0.0] * 144)]


@pytest.mark.parametrize("state", [ContestState(*figures) for figures in NONE])
def test_what_is_no_contest_is_refused(state: ContestState) -> None:
    with pytest.raises(ValueError, match="contest"):
        Contest.restore(state)
