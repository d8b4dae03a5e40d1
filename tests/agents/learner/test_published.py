"""Where a learner goes on: the newest snapshot that can be restored."""

from __future__ import annotations

import pytest

import schemas
from agents.learner.published import ModelSnapshots, _take, partition_of
from agents.registry import snapshot_key
from models.example import Example
from models.learning.learner import Learner

FEATURES = ("a", "b")


def a_snapshot(learner: Learner, offset: int) -> tuple[bytes, bytes]:
    example = Example(f"{offset}", "c", "m", offset % 2, 0, 1, 1, 0.5, 0, (offset / 7, 1.0))
    learner.learn(example)
    snapshot = learner.snapshot(1, {"0": offset})
    return snapshot_key("m", snapshot.version), schemas.encode("model_snapshot", snapshot.to_record())


@pytest.fixture
def found() -> dict[str, ModelSnapshots]:
    """Three versions, the offsets 10, 11 and 12 applied to them."""
    learner, published = Learner("m", FEATURES), dict[str, ModelSnapshots]()
    for offset in (10, 11, 12):
        _take(published, *a_snapshot(learner, offset))
    return published


def test_the_newest_is_gone_on_from(found: dict[str, ModelSnapshots]) -> None:
    learner, applied, newest, _ = found["m"].restore("m", FEATURES)
    assert (learner.version, learner.examples, applied, newest) == (3, 3, {"0": 12}, True)


def test_tombstones_take_versions_away(found: dict[str, ModelSnapshots]) -> None:
    _take(found, b"m/3", None)
    assert found["m"].versions == {1, 2}
    assert found["m"].restore("m", FEATURES)[1] == {"0": 11}


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0\x0cnonsense", schemas.encode("outcome", {
    "id": "1", "customer": "c", "offer": "o", "kind": "sent", "time": 1})])  # fmt: skip
def test_a_newest_one_that_is_none_leaves_the_one_before_and_its_version_is_not_used_again(
    found: dict[str, ModelSnapshots], value: bytes
) -> None:
    _take(found, b"m/4", value)
    learner, applied, newest, _ = found["m"].restore("m", FEATURES)
    assert (learner.version, learner.examples, applied, newest) == (4, 3, {"0": 12}, False)


def test_a_snapshot_without_a_state_is_not_gone_on_from(found: dict[str, ModelSnapshots]) -> None:
    record = schemas.decode(a_snapshot(Learner("m", FEATURES), 1)[1])[1]
    _take(found, b"m/9", schemas.encode("model_snapshot", {**record, "version": 9, "state": b"?"}))
    learner, applied, newest, _ = found["m"].restore("m", FEATURES)
    assert (learner.version, applied, newest) == (9, {"0": 12}, False)


def test_keys_that_are_none_are_passed_over(found: dict[str, ModelSnapshots]) -> None:
    _take(found, b"whatever", b"x")
    assert set(found) == {"m"}


def test_all_versions_of_a_model_stand_in_one_partition() -> None:
    assert {partition_of("purchase", 12) for _ in range(3)} == {partition_of("purchase", 12)}
    assert 0 <= partition_of("churn", 4) < 4
