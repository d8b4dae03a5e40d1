"""models/learning/lagged_experts.py: the mixture is weighed by what was said when an example opened."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models.learning.lagged_experts import CopyState, LaggedExperts
from models.learning.learner import Learner
from models.scoring.scorer import CELLS, seeds
from tests.models.learning.test_learner import FEATURES, restored, stream

SEEDS = seeds(("a", "b")).reshape(1, -1)
X = np.array([1.0, 2.0])


def filled() -> LaggedExperts:
    lag = LaggedExperts()
    for time in range(0, 100):
        if lag.wanted(time, 80):
            lag.copy(time, float(time), (1.0, 0.5), np.full(CELLS, time / 100, np.float32))
    return lag


@pytest.mark.parametrize(("opened", "copy"), [(99, 90), (90, 90), (89, 80), (80, 80)])
def test_what_was_in_force_then_is_asked(opened: int, copy: int) -> None:
    found = filled().logits(X, SEEDS, opened, 12.0)
    assert found == pytest.approx((min(12.0, copy + 2.0), 2 * copy / 100), rel=1e-6)


def test_what_is_not_known_is_not_told() -> None:
    lag = filled()
    assert lag.logits(X, SEEDS, 9, 12.0) is None
    lag.clear()
    assert lag.logits(X, SEEDS, 99, 12.0) is None


def test_restored_it_says_the_same() -> None:
    lag, again = filled(), LaggedExperts()
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(lag.state()), type=list[CopyState]), 2)
    assert again.state() == lag.state()
    assert again.logits(X, SEEDS, 95, 12.0) == lag.logits(X, SEEDS, 95, 12.0)


@pytest.mark.parametrize(
    "change", [{"weights": b""}, {"table": b"1"}, {"bias": float("nan")}, {"time": -1}, {"bias": 1e30}]
)
def test_what_is_no_copy_is_refused(change: dict[str, object]) -> None:
    (*_, last) = filled().state()
    with pytest.raises(ValueError, match="copy of the experts"):
        LaggedExperts().restore([msgspec.structs.replace(last, **change)], 2)


def test_what_opened_before_the_experts_knew_anything_weighs_none_of_them() -> None:
    """The first wave: all opened at one moment, and known at another."""
    learner = Learner("purchase", FEATURES)
    before = learner._mixing.weights.tolist()
    for one in stream(200):
        learner.learn(replace(one, opened=1, due=5000, label_time=5000))
    learner.learn(replace(stream(1, first=201)[0], opened=5100, due=9000, label_time=5100))
    assert learner.examples == 200
    assert learner._mixing.weights.tolist() == before


def test_a_learner_with_copies_goes_on_bit_for_bit() -> None:
    """Examples that are open for a while, so that copies of the experts are asked."""
    examples = [
        replace(one, opened=one.due, due=one.due + 300, label_time=one.due + 300) for one in stream(3000)
    ]

    def learned(count: int) -> Learner:
        learner = Learner("purchase", FEATURES)
        for one in examples[:count]:
            learner.learn(one, 0, one.due)
        return learner

    undisturbed, first = learned(3000), learned(1700)
    assert len(first._lag.state()) == 9
    again = restored(first, examples[:1700])
    for one in examples[1700:]:
        again.learn(one, 0, one.due)
    assert again.snapshot(created=5) == undisturbed.snapshot(created=5)
