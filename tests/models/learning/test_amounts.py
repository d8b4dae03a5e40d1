"""models/learning/learner.py on amounts: learns what is spent, in any currency, and goes on bit for bit."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models.example import Example
from models.learning.learner import Learner
from models.metrics import spearman
from models.scoring.snapshot import AMOUNT, Snapshot
from streams.errors import Poison

FEATURES = ("orders", "mood")


def stream(
    count: int, unit: float = 1.0, seed: int = 3, *, low: float = 0.0, high: float = 3.0, after: int = 0
) -> list[Example]:
    """Many spend nothing; what the others spend grows with the first feature, and its spread with it. That is between
    `low` and `high`; `after`: so many are before them."""
    draw, found = random.Random(seed), []
    for number in range(after + 1, after + count + 1):
        x = (draw.uniform(low, high), draw.gauss(0, 1))
        spends = draw.random() < 0.6
        amount = unit * draw.gammavariate(2.0, math.exp(x[0]) / 2) if spends else 0.0
        found.append(Example(f"c:v:{number}", "c", "value", amount, number, number, number, math.nan, 0, x))
    return found


def learned(examples: Sequence[Example]) -> Learner:
    learner = Learner("value", FEATURES, amounts=True)
    for one in examples:
        learner.learn(one, 0, one.due)
    return learner


@pytest.mark.parametrize("unit", [0.001, 1.0, 1e6])
def test_it_expects_what_is_spent_in_any_currency(unit: float) -> None:
    snapshot = learned(stream(8000, unit)).snapshot(created=0)
    snapshot.verify(FEATURES)
    fresh = stream(3000, unit, seed=4)
    scores = np.array([snapshot.score(one.features) for one in fresh])
    expected = np.array([0.6 * unit * math.exp(one.features[0]) for one in fresh])
    assert scores.mean() == pytest.approx(expected.mean(), rel=0.06)
    assert np.abs(scores / expected - 1).mean() < 0.15
    labels = np.array([one.label for one in fresh])
    assert spearman(labels, scores) > spearman(labels, expected) - 0.02
    assert snapshot.metrics["mae"] == pytest.approx(np.abs(labels - expected).mean(), rel=0.1)


def test_it_predicts_before_it_learns() -> None:
    learner, examples = Learner("value", FEATURES, amounts=True), stream(2500)
    for one in examples:
        if one.due > 1200 and one.due % 100 == 0:
            before = learner.snapshot(created=0)
            (given,) = learner.learn(one, 0, one.due)
            assert given.score == pytest.approx(before.score(one.features), rel=1e-3)
        else:
            learner.learn(one, 0, one.due)


def test_restored_it_goes_on_bit_for_bit() -> None:
    examples = stream(3000)
    undisturbed, first = learned(examples), learned(examples[:1700])
    snapshot = Snapshot.from_record(first.snapshot(created=0).to_record())
    again = Learner.restore(snapshot, FEATURES, amounts=True)
    for one in examples[:1700]:
        again.recall(one, 0, one.due)
    for one in examples[1700:]:
        again.learn(one, 0, one.due)
    undisturbed.version = again.version = 0
    assert again.snapshot(created=5) == undisturbed.snapshot(created=5)


def test_a_model_of_the_other_kind_is_not_gone_on_from() -> None:
    snapshot = learned(stream(10)).snapshot(created=0)
    assert snapshot.kind == AMOUNT
    with pytest.raises(Poison, match="it is of the kind 'amount'"):
        Learner.restore(snapshot, FEATURES)


def test_customers_who_come_to_spend_more_are_no_drift() -> None:
    learner = learned(stream(4000, high=1.0))
    for one in stream(6000, seed=4, low=2.0, after=4000):
        learner.learn(one, 0, one.due)
    assert learner.drifts == 0


def test_amounts_that_turn_against_their_feature_are_a_drift() -> None:
    learner = learned(stream(6000))
    for one in stream(1500, seed=4, after=6000):
        turned = (3.0 - one.features[0], one.features[1])
        learner.learn(replace(one, features=turned), 0, one.due)
    assert learner.drifts == 1


@pytest.mark.parametrize("label", [-5.0, 1e14, 0.0])
def test_absurd_amounts_leave_it_finite(label: float) -> None:
    learner = learned(stream(1500))
    for one in stream(300, seed=5):
        learner.learn(replace(one, label=label, due=one.due + 1500, label_time=one.due + 1500), 0, one.due)
    for one in stream(4000, seed=6):
        learner.learn(replace(one, due=one.due + 2000, label_time=one.due + 2000), 0, one.due)
    snapshot = learner.snapshot(created=0)
    snapshot.verify(FEATURES)
    assert 0.3 < snapshot.score((1.0, 0.0)) / (0.6 * math.e) < 3


@pytest.mark.parametrize("label", [math.nan, math.inf, 1e300])
def test_what_is_no_amount_is_poison(label: float) -> None:
    with pytest.raises(Poison, match="expected an amount"):
        Learner("value", FEATURES, amounts=True).learn(replace(stream(1)[0], label=label))
