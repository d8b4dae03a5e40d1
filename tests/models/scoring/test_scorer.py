"""The score kernel against plain Python, compiled and (by test_jit_off.py) not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.learning.boosted import fit
from models.learning.task import Binary
from models.scoring.forest import ABSENT, LEAF
from models.scoring.scorer import CELLS, EXPERTS, LARGEST_LOGIT, cell, linear, logistic, score, seeds
from models.scoring.snapshot import LINEAR, MIXTURE, Snapshot, no_weights
from models.scoring.trees import Trees

WEIGHTS = st.floats(-10, 10)


def run(x: list[float], weights: list[list[float]], bias: list[float]) -> list[float]:
    matrix = np.array(weights).reshape(len(bias), len(x))
    return [float(logistic(linear(np.array(x), model, matrix, np.array(bias)))) for model in range(len(bias))]


def twin(x: list[float], weights: list[float], bias: float) -> float:
    logit = bias + math.fsum(w * value for w, value in zip(weights, x, strict=True))
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0


@settings(deadline=None)
@given(st.data(), st.integers(0, 41), st.integers(1, 3))
def test_the_linear_expert_is_the_logistic_of_the_sum(
    data: st.DataObject, features: int, models: int
) -> None:
    x = data.draw(st.lists(WEIGHTS, min_size=features, max_size=features))
    rows = st.lists(WEIGHTS, min_size=features, max_size=features)
    weights = data.draw(st.lists(rows, min_size=models, max_size=models))
    bias = data.draw(st.lists(WEIGHTS, min_size=models, max_size=models))
    found = run(x, weights, bias)
    expected = [twin(x, row, one) for row, one in zip(weights, bias, strict=True)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("logit", "expected"), [(0.0, 0.5), (1e308, 1.0), (-1e308, 0.0), (math.inf, 1.0), (-math.inf, 0.0)]
)
def test_logistic_does_not_overflow(logit: float, expected: float) -> None:
    assert logistic(logit) == expected


@settings(deadline=None)
@given(st.floats(-700, 700))
def test_logistic_mirrors(logit: float) -> None:
    assert logistic(logit) + logistic(-logit) == pytest.approx(1.0, abs=1e-15)
    assert logistic(logit) == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-13)


FEATURES = ("a", "b", "c")


def mixture(seed: int, trees: bool = True) -> Snapshot:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(500, 3)).astype(np.float32) * 3
    labels = (x[:, 0] + draw.normal(size=500) > x[:, 1]).astype(np.float32)
    return Snapshot(
        "m", 1, 1, MIXTURE, FEATURES, 0.3, tuple(draw.normal(size=3).tolist()), 10,
        mixing=tuple(draw.normal(size=4).tolist()),
        table=draw.normal(size=CELLS).astype("<f4").tobytes(),
        trees=fit(x, labels, Binary.objective).packed() if trees else b"",
    )  # fmt: skip


def plain(snapshot: Snapshot, x: list[float]) -> float:
    """The score by the words of `models.scoring.scorer`, in plain Python."""

    def clipped(logit: float) -> float:
        return max(-LARGEST_LOGIT, min(LARGEST_LOGIT, logit))

    first = clipped(snapshot.bias + math.fsum(w * v for w, v in zip(snapshot.weights, x, strict=True)))
    table = np.frombuffer(snapshot.table, "<f4")
    second = clipped(sum(float(table[cell(v, s)]) for v, s in zip(x, seeds(FEATURES).tolist(), strict=True)))
    third, trees = 0.5 * (first + second), Trees.unpacked(snapshot.trees, 3)
    if len(trees):
        third = 0.0
        for root in trees.roots:
            node = int(root)
            while trees.feature[node] >= 0:
                left = float(np.float32(x[trees.feature[node]])) <= trees.number[node]
                node = node + 1 if left else int(trees.right[node])
            third += float(trees.number[node])
        third = clipped(third)
    bias, *weights = snapshot.mixing
    together = math.fsum(a * logit for a, logit in zip(weights, (first, second, third), strict=True))
    return float(logistic(bias + clipped(together)))


@pytest.mark.parametrize("trees", [True, False])
def test_a_mixture_is_what_its_description_says(trees: bool) -> None:
    """Beside another model whose numbers must not be read."""
    draw = np.random.default_rng(3)
    found, other = mixture(1, trees), mixture(2)
    weights = no_weights(2, 3)
    other.put(weights, 0)
    found.put(weights, 1)
    for row in (draw.normal(size=(300, 3)) * 4).tolist():
        expected = plain(found, row)
        assert score(np.array(row), 1, weights) == pytest.approx(expected, rel=1e-9)
        assert found.score(row) == pytest.approx(expected, rel=1e-9)


def test_a_linear_snapshot_in_place_of_a_mixture_is_scored_alone() -> None:
    weights = no_weights(1, 3)
    mixture(1).put(weights, 0)
    alone = Snapshot("m", 2, 1, LINEAR, FEATURES, 0.5, (1.0, 2.0, 3.0), 10)
    alone.put(weights, 0)
    assert score(np.array([0.1, 0.2, 0.3]), 0, weights) == pytest.approx(logistic(1.9), rel=1e-12)


def test_the_trees_are_those_of_lightgbm() -> None:
    import lightgbm

    from models.learning import boosted
    from models.scoring.trees import TREES

    draw = np.random.default_rng(5)
    x = draw.normal(size=(3000, 6)).astype(np.float32)
    labels = (x[:, 0] * x[:, 1] + 0.3 * draw.normal(size=3000) > 0).astype(np.float32)
    model = lightgbm.train({**boosted._PARAMETERS, **Binary.objective}, lightgbm.Dataset(x, labels), TREES)
    trees, fresh = fit(x, labels, Binary.objective), draw.normal(size=(500, 6)).astype(np.float32)
    found = [trees.logit(row.astype(np.float64)) for row in fresh]
    assert found == pytest.approx(np.asarray(model.predict(fresh, raw_score=True)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("x", [[math.nan] * 3, [math.inf, -math.inf, 1e300], [1e30, math.nan, -1e30]])
def test_a_mixture_of_nonsense_is_a_probability(x: list[float]) -> None:
    assert 0.0 < mixture(1).score(x) < 1.0


def test_cells_spread() -> None:
    """Few bins of 40 features share a cell: 800 balls in 4096 cells leave about 730 of them alone or in pairs."""
    names = [f"feature {number}" for number in range(40)]
    cells = [int(cell(value / 2, seed)) for seed in seeds(names).tolist() for value in range(-4, 16)]
    assert len(set(cells)) > 700
    assert min(cells) >= 0
    assert max(cells) < CELLS
    assert len(EXPERTS) == 3


def test_a_forest_gives_what_a_walk_down_its_trees_gives() -> None:
    """Also for values on a threshold, next to it, and beyond all, and for features that a row does not have."""
    draw = np.random.default_rng(11)
    x = (draw.integers(-3, 4, size=(2000, 5)) / 3).astype(np.float32)
    labels = (x[:, 0] * x[:, 1] - x[:, 2] + 0.3 * draw.normal(size=2000) > 0).astype(np.float32)
    trees = fit(x, labels, Binary.objective).renumbered(np.array([1, ABSENT, 2, 3, 0], np.int16))
    trees = trees.renumbered(np.array([3, 0, 1, 2], np.int16))
    assert ABSENT in trees.feature
    edges = np.sort(trees.number[trees.feature >= 0])
    rows = draw.choice(np.concatenate([edges, np.nextafter(edges, 9.0), [-3e38, 0.0, 3e38]]), size=(300, 4))
    rows = rows.astype(np.float32).astype(np.float64)
    assert [trees.logit(row) for row in rows] == pytest.approx(
        [walked(trees, row) for row in rows], rel=1e-12
    )


def walked(trees: Trees, row: NDArray[np.float64]) -> float:
    total = 0.0
    for node in trees.roots.tolist():
        while (feature := trees.feature[node]) != LEAF:
            value = row[feature] if feature != ABSENT else 0.0
            node = node + 1 if value <= trees.number[node] else trees.right[node]
        total += trees.number[node]
    return total
