"""models/scoring/snapshot.py: to and from the record, and the refusal of what must not score."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.scoring.forest import LEAF
from models.scoring.scorer import CELLS
from models.scoring.snapshot import Snapshot
from models.scoring.trees import Trees
from schemas import registry
from streams.errors import Poison

NEW = ("mixing", "table", "trees", "contest", "typical")  # since version 2 of the schema
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


def test_one_of_the_version_before_is_read() -> None:
    old = {name: value for name, value in GOOD.to_record().items() if name not in NEW}
    framed = registry.encode("model_snapshot", old, 1)
    assert Snapshot.from_record(registry.decode(framed)[1]) == GOOD


def test_scores_are_the_logistic_of_the_sum() -> None:
    assert GOOD.score([0.25, 0.5]) == pytest.approx(1 / (1 + math.exp(1.25)), abs=1e-15)
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
        ({"kind": "trees"}, "purchase/3 refused: expected a kind of linear, mixture, amount, got 'trees'"),
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


# One tree: b <= 0.5 gives -1, else a <= 2 gives 1, else 3.
TREE = Trees(
    np.array([0], np.int32),
    np.array([1, LEAF, 0, LEAF, LEAF], np.int16),
    np.array([0.5, -1.0, 2.0, 1.0, 3.0]),
    np.array([2, 0, 4, 0, 0], np.int32),
)
MIXED = replace(
    GOOD,
    kind="mixture",
    mixing=(0.0, 0.0, 0.0, 1.0),
    table=np.zeros(CELLS, "<f4").tobytes(),
    trees=TREE.packed(),
)


def changed(**arrays: list[float]) -> bytes:
    kinds = {"roots": np.int32, "feature": np.int16, "number": np.float64, "right": np.int32}
    return replace(TREE, **{name: np.array(x, kinds[name]) for name, x in arrays.items()}).packed()


def test_a_good_mixture_verifies_travels_and_moves_to_other_features() -> None:
    MIXED.verify(["a", "b"])
    assert (
        Snapshot.from_record(registry.decode(registry.encode("model_snapshot", MIXED.to_record()))[1])
        == MIXED
    )
    moved, without = MIXED.aligned(["new", "b", "a"]), MIXED.aligned(["b"])
    for a, b, logit in ((0.0, 0.5, -1), (2.0, 0.6, 1), (2.1, 0.6, 3)):
        assert MIXED.score([a, b]) == moved.score([7.0, b, a]) == pytest.approx(1 / (1 + math.exp(-logit)))
        assert without.score([b]) == MIXED.score([0.0, b])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mixing": (0.0, 1.0)}, r"mixing is \(0.0, 1.0\); expected a bias and 3 weights"),
        ({"mixing": (0.0, 1.0, math.nan, 0.0)}, "mixing is"),
        ({"table": b"1234"}, "a table of 4 bytes; expected 4096 finite float32"),
        ({"table": np.full(CELLS, np.inf, "<f4").tobytes()}, "finite float32"),
        ({"trees": b"123"}, "trees without a head"),
        ({"trees": TREE.packed()[:-1]}, "bytes are not 1 trees of 5 nodes"),
        ({"trees": struct.pack("<II", 1 << 31, 1 << 31)}, "bytes are not"),
        ({"trees": changed(right=[0, 0, 4, 0, 0])}, "a child that is not there"),  # would never end
        ({"trees": changed(right=[5, 0, 4, 0, 0])}, "a child that is not there"),
        ({"trees": changed(roots=[5])}, "a child that is not there"),
        ({"trees": changed(roots=[-1])}, "a child that is not there"),
        ({"trees": changed(feature=[2, LEAF, 0, LEAF, LEAF])}, "names a feature"),
        ({"trees": changed(feature=[-3, LEAF, 0, LEAF, LEAF])}, "names a feature"),
        ({"trees": changed(feature=[1, LEAF, 0, LEAF, 0])}, "a child that is not there"),
        ({"trees": changed(number=[math.nan, -1, 2, 1, 3])}, "too large or not a number"),
        ({"trees": changed(number=[0.5, -1, 2, 1, math.inf])}, "too large or not a number"),
    ],
)
def test_a_bad_mixture_is_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Poison, match=said):
        replace(MIXED, **change).verify(["a", "b"])


@pytest.mark.parametrize("change", [{"weights": None}, {"bias": "x"}, {"metrics": []}])
def test_what_is_no_snapshot_is_poison(change: dict[str, Any]) -> None:
    with pytest.raises(Poison, match="not a model snapshot"):
        Snapshot.from_record({**GOOD.to_record(), **change})
