"""models/snapshot.py: to and from the record, and the refusal of what must not score."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.scorer import score
from models.snapshot import Snapshot
from schemas import registry
from streams.errors import Poison

GOOD = Snapshot(
    model="purchase",
    version=3,
    created=1_700_000_000_123,
    kind="linear",
    features=("a", "b"),
    bias=-0.5,
    weights=(1.0, -2.0),
    examples=10,
    metrics={"auc": 0.75},
    state=b"\x01\x02",
    applied={"0": 41},
)


def test_the_record_gives_it_back() -> None:
    assert Snapshot.from_record(GOOD.to_record()) == GOOD


def test_the_record_fits_the_schema() -> None:
    framed = registry.encode("model_snapshot", GOOD.to_record())
    name, record = registry.decode(framed)
    assert (name, Snapshot.from_record(record)) == ("model_snapshot", GOOD)


def test_scores_as_the_kernel_does() -> None:
    x = np.array([0.25, 0.5])
    found = score(x, 0, GOOD.array().reshape(1, 2), np.array([GOOD.bias]))
    assert GOOD.score([0.25, 0.5]) == pytest.approx(found, abs=1e-15)
    assert GOOD.score([1e300, 0.0]) == 1.0


def test_a_good_one_verifies() -> None:
    GOOD.verify(["a", "b"])


def test_a_worker_with_other_features_scores_with_it_by_name() -> None:
    aligned = GOOD.aligned(["new", "b", "a"])
    aligned.verify(["new", "b", "a"])
    assert aligned.score([5.0, 0.5, 0.25]) == GOOD.score([0.25, 0.5])
    assert GOOD.aligned(["a", "b"]) is GOOD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "trees"}, "purchase/3 refused: expected kind 'linear', got 'trees'"),
        ({"version": 0}, "purchase/0 refused: expected a version from 1 to 9007199254740992, got 0"),
        ({"weights": (1.0,)}, "1 weights for 2 features"),
        ({"features": ("a", "a")}, "a feature appears twice"),
        ({"features": ("a", "c")}, "it weighs feature 'c', which config/models.yaml here does not have"),
        ({"weights": (1.0, math.nan)}, "weight of b is nan"),
        ({"weights": (-math.inf, 0.0)}, "weight of a is -inf"),
        ({"bias": 1e300}, "weight of bias is 1e"),
    ],
)
def test_a_bad_one_is_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Poison, match=said):
        replace(GOOD, **change).verify(["a", "b"])


@pytest.mark.parametrize("change", [{"weights": None}, {"bias": "x"}, {"metrics": []}])
def test_what_is_no_snapshot_is_poison(change: dict[str, Any]) -> None:
    with pytest.raises(Poison, match="not a model snapshot"):
        Snapshot.from_record({**GOOD.to_record(), **change})
