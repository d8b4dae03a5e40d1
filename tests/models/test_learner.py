"""models/learner.py: learns, goes on from its state bit for bit, and survives what it should not see."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.example import Example
from models.learner import Learner
from models.metrics import auc
from models.snapshot import Snapshot
from streams.errors import Poison

FEATURES = ("a", "b", "constant", "rare")
TRUE_WEIGHTS = (1.5, -1.0, 0.0, 0.0)


def example(features: Sequence[float], label: int, model: str = "purchase") -> Example:
    return Example("c:m:1", "c", model, label, 0, 2, 1, math.nan, 0, tuple(features))


def stream(count: int, seed: int = 7) -> list[Example]:
    """Examples of a known logistic model, with features of very different scales."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        z = [draw.gauss(0, 1), draw.gauss(0, 1)]
        chance = 1 / (1 + math.exp(-(0.3 + TRUE_WEIGHTS[0] * z[0] + TRUE_WEIGHTS[1] * z[1])))
        features = (100 + 20 * z[0], 0.01 * z[1], 5.0, float(draw.random() < 0.002))
        found.append(example(features, int(draw.random() < chance)))
    return found


def learned(examples: list[Example]) -> Learner:
    learner = Learner("purchase", FEATURES)
    for one in examples:
        learner.learn(one)
    return learner


def finite(snapshot: Snapshot) -> bool:
    snapshot.verify(FEATURES)
    return all(map(math.isfinite, (snapshot.bias, *snapshot.weights)))


def test_it_learns_the_model_it_sees() -> None:
    snapshot = learned(stream(8000)).snapshot(created=0)
    a, b, constant, _ = snapshot.weights
    assert a * 20 == pytest.approx(TRUE_WEIGHTS[0], abs=0.15)
    assert b * 0.01 == pytest.approx(TRUE_WEIGHTS[1], abs=0.15)
    assert constant == 0.0
    fresh = stream(2000, seed=8)
    assert auc([one.label for one in fresh], [snapshot.score(one.features) for one in fresh]) > 0.8


def test_it_predicts_before_it_learns() -> None:
    """The score returned is what the snapshot of the moment before gives; the first one is a half."""
    learner = Learner("purchase", FEATURES)
    examples = stream(400)
    assert learner.learn(examples[0]) == 0.5
    for one in examples[1:]:
        before = learner.snapshot(created=0)
        # The sight of a farther value than any before is noted with the example itself.
        assert learner.learn(one) == pytest.approx(before.score(one.features), abs=0.05)
    before = learner.snapshot(created=0)
    middle = example([100.0, 0.0, 5.0, 0.0], 1)
    assert learner.learn(middle) == pytest.approx(before.score(middle.features), abs=1e-5)


def test_restored_it_goes_on_bit_for_bit() -> None:
    examples = stream(2000)
    undisturbed = learned(examples)
    first = learned(examples[:1000])
    restored = Learner.restore(first.state(), FEATURES)
    for one in examples[1000:]:
        restored.learn(one)
    assert restored.state() == undisturbed.state()
    assert restored.snapshot(created=5) == undisturbed.snapshot(created=5)


def test_a_snapshot_carries_the_state_and_the_offsets() -> None:
    learner = learned(stream(50))
    snapshot = learner.snapshot(created=9, applied={"0": 12, "3": 4})
    assert (snapshot.version, snapshot.created, snapshot.examples) == (1, 9, 50)
    assert snapshot.applied == {"0": 12, "3": 4}
    assert set(snapshot.metrics) == {"auc", "log_loss", "brier", "ece", "positives", "ignored"}
    again = Learner.restore(snapshot.state, FEATURES)
    assert again.snapshot(created=9, applied=snapshot.applied).version == 2


def test_the_state_is_plain_data() -> None:
    assert isinstance(msgspec.msgpack.decode(learned(stream(10)).state()), dict)


def test_features_are_matched_by_name() -> None:
    learner = learned(stream(500))
    wider = Learner.restore(learner.state(), ("new", "b", "a"))
    old, new = learner.snapshot(created=0), wider.snapshot(created=0)
    assert new.weights == (0.0, old.weights[1], old.weights[0])
    wider.learn(example([1.0, 0.0, 100.0], 1))


def test_two_runs_agree() -> None:
    assert learned(stream(300)).state() == learned(stream(300)).state()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, -3e38])
def test_values_that_are_no_measurement_are_counted_and_pass_by(bad: float) -> None:
    examples = stream(600)
    learner = learned(examples)
    before = learner.snapshot(created=0)
    for one in examples[:50]:
        learner.learn(example((bad, *one.features[1:]), one.label))
    after = learner.snapshot(created=0)
    assert learner.ignored == 50
    assert finite(after)
    assert after.weights[0] == before.weights[0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.tuples(*[st.floats(width=32)] * 4), st.integers(0, 1)),
        max_size=60,
    )
)
def test_weights_stay_finite(rows: list[tuple[tuple[float, ...], int]]) -> None:
    learner = Learner("purchase", FEATURES)
    for features, label in rows:
        assert 0.0 <= learner.learn(example(features, label)) <= 1.0
    assert finite(learner.snapshot(created=0))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(label: int) -> None:
    learner = Learner("purchase", FEATURES)
    for one in stream(500):
        learner.learn(replace(one, label=label))
    snapshot = learner.snapshot(created=0)
    assert finite(snapshot)
    assert abs(snapshot.score(stream(1)[0].features) - label) < 0.2
    assert "auc" not in snapshot.metrics


def test_a_feature_that_wakes_does_not_swing_the_scores() -> None:
    """A column that was constant for long has next to no variance when it first moves."""
    learner = Learner("purchase", FEATURES)
    for one in stream(3000):
        learner.learn(example((*one.features[:3], 0.0), one.label))
    learner.learn(example((100.0, 0.0, 5.0, 3.0), 1))
    snapshot = learner.snapshot(created=0)
    asleep, awake = snapshot.score((100.0, 0.0, 5.0, 0.0)), snapshot.score((100.0, 0.0, 5.0, 3.0))
    assert abs(awake - asleep) < 0.15


def test_it_recovers_from_a_stretch_of_nonsense() -> None:
    learner = learned(stream(2000))
    for one in stream(200, seed=3):
        learner.learn(example((9e5, -9e5, 9e5, 9e5), one.label))
    for one in stream(6000, seed=4):
        learner.learn(one)
    snapshot, fresh = learner.snapshot(created=0), stream(2000, seed=5)
    assert auc([one.label for one in fresh], [snapshot.score(one.features) for one in fresh]) > 0.7


def other_model(one: Example) -> Example:
    return replace(one, model="churn")


def too_short(one: Example) -> Example:
    return replace(one, features=one.features[:2])


def no_label(one: Example) -> Example:
    return replace(one, label=3)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_model, "is for churn, not for purchase"),
        (too_short, "has 2 features; expected 4"),
        (no_label, "expected label 0 or 1, got 3"),
    ],
)
def test_examples_it_must_not_learn_are_poison(spoil: Callable[[Example], Example], said: str) -> None:
    learner = learned(stream(5))
    state = learner.state()
    with pytest.raises(Poison, match=said):
        learner.learn(spoil(stream(1)[0]))
    assert learner.state() == state


@pytest.mark.parametrize("state", [b"", b"\x80", b"not a state", msgspec.msgpack.encode({"format": 1})])
def test_what_is_no_state_is_poison(state: bytes) -> None:
    with pytest.raises(Poison, match="not the state of a learner"):
        Learner.restore(state, FEATURES)


def test_another_format_is_poison() -> None:
    plain = msgspec.msgpack.decode(learned(stream(5)).state())
    with pytest.raises(Poison, match="expected format 1, got 2"):
        Learner.restore(msgspec.msgpack.encode({**plain, "format": 2}), FEATURES)
