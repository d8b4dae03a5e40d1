"""models/scoring/explain.py: the reasons are what the model goes by."""

from __future__ import annotations

import math

import pytest

from models.config import Feature, ModelConfig
from models.example import Example
from models.learning.learner import Learner
from models.scoring.explain import Explainer
from tests.models.learning.test_learner import stream

CONFIG = ModelConfig(
    (
        Feature("orders", "log1p", 0.0, "orders"),
        Feature("mood", "identity", 0.0, "mood"),
        Feature("constant", "identity", 0.0, "constant"),
        Feature(None, "hour_sin", 0.0, "hour_sin"),
        Feature(None, "hour_cos", 0.0, "hour_cos"),
    ),
    (),
)


@pytest.fixture(scope="module")
def learner() -> Learner:
    """Many orders (around 10 as a logarithm) raise the score, a good mood lowers it, nothing else matters."""
    found = Learner("purchase", CONFIG.names)
    for one in stream(6000):
        a, b, constant, _ = one.features
        found.learn(
            Example(
                one.id,
                "c",
                "purchase",
                one.label,
                0,
                one.due,
                one.due,
                0.5,
                0,
                (a / 4, b, constant, 0.0, 1.0),
            )
        )
    return found


def test_what_moves_the_score_is_told_the_strongest_first(learner: Learner) -> None:
    snapshot, explainer = learner.snapshot(0), Explainer(CONFIG)
    many = explainer.reasons(snapshot, {"orders": math.expm1(4.0), "mood": -0.3, "constant": 5.0}, 0.0)
    assert [reason.name for reason in many][:2] == ["orders", "mood"]
    assert many[0].weight > many[1].weight > 0
    assert str(many[0]).startswith("orders 53.6 (usually 1")
    assert str(many[0]).endswith("raises it")
    good = explainer.reasons(snapshot, {"orders": math.expm1(2.5), "mood": 2.0, "constant": 5.0}, 0.0)
    assert (good[0].name, good[0].weight < 0) == ("mood", True)
    assert "constant" not in {reason.name for reason in (*many, *good)}


def test_a_usual_row_has_no_reasons_and_one_without_views_has_none_that_fail(learner: Learner) -> None:
    snapshot, explainer = learner.snapshot(0), Explainer(CONFIG)
    usual = {name: explainer.reasons(snapshot, {}, 0.0) for name in ("x",)}
    assert all(math.isfinite(reason.weight) for reason in usual["x"])
    typical = snapshot.typical
    row = {"orders": math.expm1(typical[0]), "mood": typical[1], "constant": typical[2]}
    assert explainer.reasons(snapshot, row, 0.0) == []


def test_the_buckets_of_one_view_are_one_reason_without_numbers() -> None:
    features = tuple(Feature("offer", "hashed", 0.0, f"offer#{number}", number) for number in range(8))
    learner = Learner("response", tuple(feature.name for feature in features))
    for number in range(1, 3000):
        bucket = number % 2
        x = tuple(float(each == bucket) for each in range(8))
        learner.learn(Example(f"{number}", "c", "response", float(bucket), 0, number, number, 0.5, 0, x))
    for offer, way in ((9.0, "raises"), (8.0, "lowers")):
        (reason,) = Explainer(ModelConfig(features, ())).reasons(learner.snapshot(0), {"offer": offer}, 0.0)
        assert str(reason) == f"offer {way} it"


def test_what_linear_features_add_is_their_weight_times_the_distance(learner: Learner) -> None:
    from dataclasses import replace

    from models.scoring.snapshot import LINEAR

    snapshot = replace(learner.snapshot(0), kind=LINEAR)
    x = [3.0, 1.0, 5.0, 0.0, 1.0]
    expected = [w * (v - t) for w, v, t in zip(snapshot.weights, x, snapshot.typical, strict=True)]
    assert snapshot.contributions(x) == pytest.approx(expected, abs=1e-9)
    assert replace(snapshot, typical=()).contributions(x) == []
