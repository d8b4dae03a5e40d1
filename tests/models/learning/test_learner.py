"""models/learning/learner.py: learns, goes on from its snapshot bit for bit, and survives what it should not see."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import EXPERTS, Learning
from models.evaluation.nightly_baseline import DAY_MS, nightly_scores
from models.example import Example
from models.learning.learner import Learner
from models.metrics import auc
from models.scoring.snapshot import Snapshot
from streams.errors import Poison

FEATURES = ("a", "b", "constant", "rare")
TRUE_WEIGHTS = (1.5, -1.0, 0.0, 0.0)
ALONE = [Learning(experts=(name,)) for name in EXPERTS]
KINDS = pytest.mark.parametrize("learning", [Learning(), *ALONE], ids=["mixture", *EXPERTS])
LINEAR = Learning(experts=("linear",))


def example(number: int, features: Sequence[float], label: int) -> Example:
    """Due as soon as it is known."""
    return Example(
        f"c:m:{number}", "c", "purchase", label, number, number, number, math.nan, 0, tuple(features)
    )


def stream(count: int, seed: int = 7, sign: float = 1.0, first: int = 1) -> list[Example]:
    """Examples of a known logistic model, with features of very different scales."""
    draw, found = random.Random(seed), []
    for number in range(first, first + count):
        z = [draw.gauss(0, 1), draw.gauss(0, 1)]
        logit = 0.3 + TRUE_WEIGHTS[0] * z[0] + TRUE_WEIGHTS[1] * z[1]
        features = (10 + 3 * z[0], z[1], 5.0, float(draw.random() < 0.002))
        found.append(example(number, features, int(draw.random() < 1 / (1 + math.exp(-sign * logit)))))
    return found


def give(learner: Learner, examples: Sequence[Example]) -> list[float]:
    """Learn all; the scores before."""
    return [score for one in examples for _, score in learner.learn(one, 0, one.due)]


def learned(examples: Sequence[Example], learning: Learning = Learning()) -> Learner:
    learner = Learner("purchase", FEATURES, learning)
    give(learner, examples)
    return learner


def how_well(snapshot: Snapshot, examples: Sequence[Example]) -> float:
    return auc([one.label for one in examples], [snapshot.score(one.features) for one in examples])


def restored(learner: Learner, given: Sequence[Example], learning: Learning = Learning()) -> Learner:
    """What goes on from its snapshot, after those examples that have to be read again."""
    snapshot = learner.snapshot(created=0)
    learner.version -= 1
    again = Learner.restore(Snapshot.from_record(snapshot.to_record()), FEATURES, learning)
    again.version -= 1
    for one in given:
        if one.due >= again.earliest.get(0, 1 << 62):
            again.recall(one, 0, one.due)
    return again


def sound(snapshot: Snapshot) -> bool:
    snapshot.verify(FEATURES)
    return all(map(math.isfinite, (snapshot.bias, *snapshot.weights, *snapshot.mixing)))


@KINDS
def test_it_learns_the_model_it_sees(learning: Learning) -> None:
    snapshot = learned(stream(6000), learning).snapshot(created=0)
    assert how_well(snapshot, stream(2000, seed=8)) > 0.82  # the true one: 0.845


def test_the_linear_expert_finds_the_weights() -> None:
    weights = learned(stream(8000), LINEAR).snapshot(created=0).weights
    assert weights[0] * 3 == pytest.approx(TRUE_WEIGHTS[0], abs=0.15)
    assert weights[1] == pytest.approx(TRUE_WEIGHTS[1], abs=0.15)
    assert weights[2] == 0.0


@KINDS
def test_it_predicts_before_it_learns(learning: Learning) -> None:
    """The score returned is what the snapshot of the moment before gives; the first one is a half."""
    learner, examples = Learner("purchase", FEATURES, learning), stream(1500)
    assert give(learner, examples[:1]) == [0.5]
    for one in examples[1:]:
        if one.due % 100:
            give(learner, [one])
        else:
            before = learner.snapshot(created=0)
            assert give(learner, [one])[0] == pytest.approx(before.score(one.features), abs=1e-3)


def test_proofs_are_not_learned_before_the_silence_that_was_due_with_them() -> None:
    """A deadline fires behind the watermark, when proofs of the same time are known: learned apart, every score between
    them would be off."""
    horizon = 1000
    proved = [replace(one, opened=0, due=horizon, label_time=10 * n) for n, one in enumerate(stream(20))]
    later = replace(stream(1)[0], id="later", opened=horizon, due=2 * horizon, label_time=horizon + 9)
    silent = [
        replace(one, id=f"{n}", opened=0, due=horizon, label_time=horizon) for n, one in enumerate(proved)
    ]
    learner = Learner("purchase", FEATURES)
    assert not give(learner, [*proved, later, *silent])
    assert len(give(learner, [replace(later, id="last", label_time=horizon + 10)])) == 40


@KINDS
def test_restored_it_goes_on_bit_for_bit(learning: Learning) -> None:
    examples = [
        replace(one, due=one.due + one.due % 7 * 400) for one in stream(3000)
    ]  # some wait, some settle longer
    undisturbed, first = learned(examples, learning), learned(examples[:1700], learning)
    assert first.waiting
    again = restored(first, examples[:1700], learning)
    give(again, examples[1700:])
    assert again.snapshot(created=5) == undisturbed.snapshot(created=5)


def test_examples_known_early_wait_for_their_neighbours() -> None:
    learner = Learner("purchase", FEATURES)
    early, late = (
        replace(stream(1)[0], due=100, label_time=10),
        replace(stream(1)[0], id="l", due=50, label_time=50),
    )
    assert learner.learn(early, 0, 1) == []
    assert [one.due for one, _ in learner.learn(late, 0, 2)] == [50]
    assert (learner.taken, learner.examples, learner.waiting) == (2, 1, 1)
    assert [one.due for one, _ in learner.learn(replace(late, id="x", due=120, label_time=101), 0, 3)] == [
        100
    ]


def test_a_snapshot_carries_the_state_and_the_offsets() -> None:
    learner = learned(stream(50))
    snapshot = learner.snapshot(created=9, applied={"0": 12, "3": 4})
    assert (snapshot.version, snapshot.created, snapshot.examples) == (1, 9, 50)
    assert snapshot.applied == {"0": 12, "3": 4}
    figures = {
        "auc",
        "log_loss",
        "brier",
        "ece",
        "positives",
        "ignored",
        "taken",
        "waiting",
        "left_out",
        "drifts",
        "cohort_deviation",
    }
    assert set(snapshot.metrics) == figures | {f"weight.{name}" for name in EXPERTS}
    assert Learner.restore(snapshot, FEATURES).snapshot(created=9).version == 2
    assert isinstance(msgspec.msgpack.decode(snapshot.state), dict)


def test_features_are_matched_by_name() -> None:
    """One that gains a feature and loses others scores the rest as before, and learns on."""
    learner = learned(stream(2000))
    old, names = learner.snapshot(created=0), ("new", "constant", "rare", "b", "a")
    wider = Learner.restore(old, names)
    new = wider.snapshot(created=0)
    assert new.weights == (0.0, 0.0, old.weights[3], old.weights[1], old.weights[0])
    for one in stream(50, seed=3):
        a, b, constant, rare = one.features
        assert old.aligned(names).score((7.0, constant, rare, b, a)) == pytest.approx(
            old.score(one.features), rel=1e-12
        )
        wider.learn(replace(one, features=(7.0, constant, rare, b, a)), 0, 5000)
    narrow = Learner.restore(old, ("a", "b"))
    narrow.learn(replace(stream(1)[0], features=(10.0, 1.0)), 0, 5000)
    assert 0 < narrow.snapshot(created=0).score((10.0, 1.0)) < 1


@KINDS
def test_two_runs_agree(learning: Learning) -> None:
    first, second = (learned(stream(1200), learning).snapshot(created=0) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, -3e38])
@KINDS
def test_values_that_are_no_measurement_are_counted_and_pass_by(learning: Learning, bad: float) -> None:
    learner = learned(stream(1200), learning)
    before = learner.snapshot(created=0)
    spoilt = [replace(one, features=(bad, *one.features[1:])) for one in stream(50, seed=2, first=1201)]
    assert all(0.0 < score < 1.0 for score in give(learner, spoilt))
    after = learner.snapshot(created=0)
    assert learner.ignored == 50
    assert sound(after)
    assert after.weights[0] == pytest.approx(before.weights[0], abs=0.02)  # it follows what goes with it
    assert 0.0 < after.score((bad, 0.0, 5.0, 0.0)) < 1.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.tuples(*[st.floats(width=32)] * 4), st.integers(0, 1)), max_size=60))
def test_weights_stay_finite(rows: list[tuple[tuple[float, ...], int]]) -> None:
    learner = Learner("purchase", FEATURES)
    for number, (features, label) in enumerate(rows):
        (score,) = give(learner, [example(number, features, label)])
        assert 0.0 < score < 1.0
    assert sound(learner.snapshot(created=0))


@pytest.mark.parametrize("label", [0, 1])
@KINDS
def test_one_class_only(learning: Learning, label: int) -> None:
    snapshot = learned([replace(one, label=label) for one in stream(600)], learning).snapshot(created=0)
    assert sound(snapshot)
    assert abs(snapshot.score(stream(1)[0].features) - label) < 0.5
    assert "auc" not in snapshot.metrics


def test_a_feature_that_wakes_does_not_swing_the_scores() -> None:
    """A column that was constant for long has next to no variance when it first moves."""
    learner = learned([replace(one, features=(*one.features[:3], 0.0)) for one in stream(3000)])
    give(learner, [example(4000, (10.0, 0.0, 5.0, 3.0), 1)])
    snapshot = learner.snapshot(created=0)
    asleep, awake = snapshot.score((10.0, 0.0, 5.0, 0.0)), snapshot.score((10.0, 0.0, 5.0, 3.0))
    assert abs(awake - asleep) < 0.15


@KINDS
def test_it_recovers_from_a_stretch_of_nonsense(learning: Learning) -> None:
    learner = learned(stream(2000), learning)
    give(learner, [replace(one, features=(9e5, -9e5, 9e5, 9e5)) for one in stream(200, seed=3, first=2001)])
    give(learner, stream(6000, seed=4, first=2201))
    assert how_well(learner.snapshot(created=0), stream(2000, seed=5)) > 0.75


def test_a_world_that_turns_round_is_learned_anew_in_a_tenth_of_what_a_nightly_model_needs() -> None:
    """Half way every label means the opposite. The nightly model is fitted to all of it."""
    before, after = stream(20_000), stream(19_000, seed=9, sign=-1, first=20_001)
    fresh = stream(3000, seed=8, sign=-1)
    learner = learned(before)
    former = how_well(learner.snapshot(created=0), stream(3000, seed=8))
    assert learner.drifts == 0
    give(learner, after[:1900])
    assert learner.drifts >= 1
    assert how_well(learner.snapshot(created=0), fresh) > former - 0.02

    known = [*before, *after]
    x = np.array([one.features for one in (*known, *fresh)], np.float32)
    labels = np.array([one.label for one in (*known, *fresh)], np.float64)
    day = np.repeat([0, DAY_MS], [len(known), len(fresh)])
    nightly = nightly_scores(x, labels, day, day, DAY_MS)[len(known) :]
    assert auc(labels[len(known) :], nightly) < former - 0.02


def test_more_than_can_wait_is_thinned_by_halves_and_a_restart_changes_nothing() -> None:
    examples = [replace(one, due=one.due + 3000) for one in stream(3000)]
    learners = [Learner("purchase", FEATURES) for _ in range(2)]
    for learner in learners:
        learner._waiting._most = 400
    give(learners[0], examples)
    give(learners[1], examples[:2000])
    again = restored(learners[1], examples[:2000])
    again._waiting._most = 400
    give(again, examples[2000:])
    assert again.snapshot(created=1) == learners[0].snapshot(created=1)
    assert (learners[0].taken, learners[0].waiting <= 400) == (3000, True)
    assert learners[0].metrics()["left_out"] + learners[0].waiting == 3000


def test_the_replay_is_bounded_and_keeps_the_latest() -> None:
    learner = Learner("purchase", FEATURES)
    learner._replay._most = 800
    room = len(learner._replay._x)
    learner._replay._x = learner._replay._x[:900]
    give(learner, stream(3000))
    x, _ = learner._replay.sample()
    assert 800 <= len(x) <= 900 < room
    assert x.tolist() == [[*map(float, row)] for row in x.tolist()]
    assert x[-1].tolist() == pytest.approx(stream(3000)[-1].features, rel=1e-6)


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
    with pytest.raises(Poison, match=said):
        learner.learn(spoil(stream(1)[0]))
    assert learner.snapshot(created=0) == learned(stream(5)).snapshot(created=0)


@pytest.mark.parametrize("state", [b"", b"\x80", b"not a state", msgspec.msgpack.encode({"format": 1})])
def test_what_is_no_state_is_poison(state: bytes) -> None:
    with pytest.raises(Poison, match="not the state of a learner"):
        Learner.restore(replace(learned(stream(5)).snapshot(created=0), state=state), FEATURES)


def test_another_format_is_poison() -> None:
    snapshot = learned(stream(5)).snapshot(created=0)
    plain = msgspec.msgpack.decode(snapshot.state)
    with pytest.raises(Poison, match="expected format 6, got 7"):
        Learner.restore(replace(snapshot, state=msgspec.msgpack.encode({**plain, "format": 7})), FEATURES)
