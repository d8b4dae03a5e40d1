"""agents/server/explanations.py: a shown decision says why its score is what it is, in words and from its receipt
alone."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agents.server.explanations import VERSIONS, Reasons
from config.settings import load_settings
from customers.row.layout import Described
from models.example import Example
from models.learning.learner import Learner
from models.scoring.snapshot import Snapshot
from pipeline.config import load_config

CONFIG = load_config(load_settings().config)
NAMES = CONFIG.models.names
LAYOUT = Described.of(CONFIG.layout.description)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """One by which many orders keep a customer and a long gap drives one away."""
    learner = Learner("churn", NAMES)
    orders, gap = (
        NAMES.index("orders_30d"),
        next(i for i, name in enumerate(NAMES) if name.startswith("order_gap ")),
    )
    for number in range(1, 3000):
        x = [0.0] * len(NAMES)
        x[orders], x[gap] = number % 5, number % 7
        label = int(number % 7 > number % 5 + 1)
        learner.learn(
            Example(f"c:{number}", "c", "churn", label, 0, number, number, 0.5, 0, tuple(x)), 0, number
        )
    return learner.snapshot(0)


def decision(snapshot: Snapshot, **views: float) -> dict[str, Any]:
    values = [views.get(name, 0.0) for name in LAYOUT.views]
    place = list(LAYOUT.models).index("churn")
    versions = [snapshot.version if number == place else 0 for number in range(len(LAYOUT.models))]
    receipt = {
        "layout": CONFIG.layout.layout_id,
        "snapshots": versions,
        "scores": [],
        "fields": [],
        "values": values,
    }
    return {"policy": "churn-risk", "time": 1_500_000_000_000, "receipt": receipt}


def layouts(layout_id: int) -> Described | None:
    return LAYOUT if layout_id == CONFIG.layout.layout_id else None


def test_the_reasons_are_those_of_the_snapshot_in_force(snapshot: Snapshot) -> None:
    reasons = Reasons("127.0.0.1:1", CONFIG, layouts)
    assert reasons.of(decision(snapshot)) == []  # not read yet
    reasons.take(snapshot)
    (gap, *_) = reasons.of(decision(snapshot, order_gap=400.0, orders_30d=math.expm1(2)))
    assert gap.startswith("order_gap 400 (usually 19")
    assert gap.endswith("raises it")
    (orders, *_) = reasons.of(decision(snapshot, order_gap=math.expm1(3), orders_30d=0.0))
    assert orders.startswith("orders_30d 0 (usually 6.3")
    assert orders.endswith("raises it")


def test_without_a_score_a_snapshot_or_a_layout_there_are_none(snapshot: Snapshot) -> None:
    reasons = Reasons("127.0.0.1:1", CONFIG, layouts)
    reasons.take(snapshot)
    made = decision(snapshot, order_gap=400.0)
    assert reasons.of({**made, "policy": "ticket-storm"}) == []
    assert reasons.of({**made, "policy": "of another version"}) == []
    assert reasons.of({**made, "receipt": {**made["receipt"], "layout": 5}}) == []
    assert reasons.of({**made, "receipt": {**made["receipt"], "snapshots": []}}) == []


def test_old_snapshots_go(snapshot: Snapshot) -> None:
    from dataclasses import replace

    reasons = Reasons("127.0.0.1:1", CONFIG, layouts)
    for version in range(1, VERSIONS + 10):
        reasons.take(replace(snapshot, version=version))
    assert sorted(reasons._kept["churn"]) == list(range(10, VERSIONS + 10))
