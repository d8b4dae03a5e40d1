"""models/example.py: from the decoded record, or refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from models.example import Example
from streams.errors import Poison

RECORD: dict[str, Any] = {
    "id": "c1:purchase:1000",
    "customer": "c1",
    "model": "purchase",
    "label": 1,
    "opened": 1000,
    "due": 5000,
    "label_time": 3000,
    "score": math.nan,
    "snapshot": 0,
    "features": [1.0, 2.5],
}


def test_reads_numbers_and_datetimes_alike() -> None:
    moments = {
        key: datetime.fromtimestamp(RECORD[key] / 1000, UTC) for key in ("opened", "due", "label_time")
    }
    read, dated = Example.from_record(RECORD), Example.from_record({**RECORD, **moments})
    assert (read.opened, read.due, read.label_time) == (1000, 5000, 3000)
    assert (dated.opened, dated.due, dated.label_time) == (1000, 5000, 3000)
    assert read.features == (1.0, 2.5)
    assert math.isnan(read.score)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": None}, "not a training example: TypeError"),
        ({"amount": math.inf}, "expected a finite label, got inf"),
        ({"score": -math.inf}, "expected a finite score, got -inf"),
        ({"features": None}, "not a training example: TypeError"),
        ({"opened": "soon"}, "not a training example: ValueError"),
    ],
)
def test_refuses_what_is_none(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Poison, match=said):
        Example.from_record({**RECORD, **change})


def test_the_label_is_the_amount_where_there_is_one() -> None:
    assert Example.from_record(RECORD).label == 1.0
    assert Example.from_record({**RECORD, "amount": None}).label == 1.0
    assert Example.from_record({**RECORD, "label": 0, "amount": 12.5}).label == 12.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": 2}, "expected label 0 or 1, got 2"),
        ({"score": 1.5}, "expected a score from 0 to 1, got 1.5"),
    ],
)
def test_yes_or_no_and_probabilities_are_checked_where_they_are_due(
    change: dict[str, Any], said: str
) -> None:
    Example.from_record(RECORD).check_binary()
    with pytest.raises(Poison, match=said):
        Example.from_record({**RECORD, **change}).check_binary()


def test_features_of_another_version_are_taken_by_name() -> None:
    example = Example.from_record({**RECORD, "layout": 5})
    moved = example.by_name(["b", "a"], ["a", "new", "b"])
    assert (moved.features[0], moved.features[2], moved.layout) == (2.5, 1.0, 5)
    assert math.isnan(moved.features[1])
    assert example.by_name(["b", "a"], ["b", "a"]) is example
    with pytest.raises(Poison, match="has 2 features, its layout 5 has 3"):
        example.by_name(["a", "b", "c"], ["a"])


def test_refuses_a_missing_field() -> None:
    with pytest.raises(Poison, match="KeyError 'due'"):
        Example.from_record({key: value for key, value in RECORD.items() if key != "due"})
