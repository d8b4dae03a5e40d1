"""CDNOW as events: all of it, in order of time, the same each time."""

from __future__ import annotations

import importlib.util
from collections import Counter
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import pytest

import schemas
from ingest.open_source import source
from ingest.source import Event

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lifetimes") is None, reason="no lifetimes")


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(source("cdnow").events())


@pytest.fixture(scope="module")
def rows() -> Counter[tuple[str, str, float, float]]:
    """customer, day, discs, dollars of each line of the file, and how often."""
    found = importlib.util.find_spec("lifetimes")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "datasets" / "CDNOW_master.txt"
    cells = (line.split() for line in path.read_text(encoding="ascii").splitlines()[1:])
    return Counter((customer, day, float(discs), float(amount)) for customer, day, discs, amount in cells)


def test_counts(events: list[Event]) -> None:
    assert len(events) == source("cdnow").total == 69_659
    assert len({event[1] for event in events}) == 23_570
    assert {event[0] for event in events} == {"sales.events"} == set(source("cdnow").topics)


def test_no_two_events_have_the_same_time_and_later_ones_come_later(events: list[Event]) -> None:
    assert all(a[2] < b[2] for a, b in pairwise(events))


def test_events_are_the_rows_of_the_file(
    events: list[Event], rows: Counter[tuple[str, str, float, float]]
) -> None:
    found: Counter[tuple[str, str, float, float]] = Counter()
    ids = set()
    for _, key, time_ms, value in events:
        name, record = schemas.decode(value)
        assert name == "sales_event"
        assert record["time"] == time_ms
        assert record["kind"] == "order"
        at = datetime.fromtimestamp(time_ms / 1000, UTC)
        assert 9 <= at.hour < 21
        (line,) = record["lines"]
        assert line["amount"] == record["amount"]
        found[(key.decode(), at.strftime("%Y%m%d"), line["quantity"], record["amount"])] += 1
        ids.add(record["message_id"])
    assert found == rows
    assert len(ids) == len(events)


@pytest.mark.parametrize("start", [1, 777, 69_658, 69_659])
def test_it_starts_anywhere(events: list[Event], start: int) -> None:
    assert list(islice(source("cdnow").events(start), 500)) == events[start : start + 500]


def test_it_is_the_same_each_time(events: list[Event]) -> None:
    first, second = source("cdnow"), source("cdnow")
    assert first.fingerprint == second.fingerprint
    assert first.begins_ms == events[0][2]
