"""Rows that a stopped worker left in a file are taken only where they are provably whole and of this changelog."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from streams.durability import local_rows as local
from streams.durability.local_rows import ChangelogIdentity, Found
from streams.engine.partition import Partition
from tests.doubles import Rig
from tests.reference import streams

PLACE = ChangelogIdentity("a topic", 7)
CONTROL = orjson.dumps({"clocks": [1.0, 2.0]})


def filled(number: int = 0) -> Partition:
    rig = Rig()
    rig.feed(streams.random_batches(streams.random_log(3, 600, partitions=1), 3))
    partition: Partition = rig.engine.partitions[0]
    partition.number = number
    gone = partition.index.key(5)
    partition.forget(gone)  # a slot that nobody has
    return partition


def empty(number: int = 0) -> Partition:
    work = Rig().work
    return Partition(number, len(work.layout.topics), work.fields, work.default_row, work.deadline_words)


def content(partition: Partition) -> dict[bytes, bytes]:
    slots = partition.held_slots()
    rows = partition.rows.copy(slots)
    return {key: row.tobytes() for key, row in zip(partition.index.keys(slots), rows, strict=True)}


def test_rows_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ROWS_AT_ONCE", 7)
    partition, again = filled(), empty()
    held = len(content(partition))
    assert local.save(tmp_path, partition, PLACE, 41, CONTROL) == held > 20
    assert local.load(tmp_path, again, PLACE) == Found(41, {"clocks": [1.0, 2.0]}, held)
    assert content(again) == content(partition)


def test_a_partition_without_rows(tmp_path: Path) -> None:
    assert local.save(tmp_path, empty(), PLACE, 3, CONTROL) == 0
    again = empty()
    assert local.load(tmp_path, again, PLACE) == Found(3, {"clocks": [1.0, 2.0]}, 0)
    assert content(again) == {}


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def flip(path: Path) -> None:
    data = np.fromfile(path, np.uint8)
    data[len(data) // 2] ^= 1
    data.tofile(path)


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [cut, flip, empty_file, remove])
def test_a_file_that_is_not_whole_is_left_alone(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    local.save(tmp_path, filled(), PLACE, 41, CONTROL)
    harm(tmp_path / "0.rows")
    again = empty()
    assert local.load(tmp_path, again, PLACE) is None
    assert content(again) == {}


@pytest.mark.parametrize("place", [ChangelogIdentity("another topic", 7), ChangelogIdentity("a topic", 8)])
def test_a_file_of_another_changelog_or_layout_is_left_alone(
    tmp_path: Path, place: ChangelogIdentity
) -> None:
    local.save(tmp_path, filled(), PLACE, 41, CONTROL)
    assert local.load(tmp_path, empty(), place) is None


def test_a_file_of_another_partition_is_left_alone(tmp_path: Path) -> None:
    local.save(tmp_path, filled(), PLACE, 41, CONTROL)
    (tmp_path / "0.rows").rename(tmp_path / "1.rows")
    assert local.load(tmp_path, empty(1), PLACE) is None


def test_a_file_that_is_older_than_tombstones_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.save(tmp_path, filled(), PLACE, 41, CONTROL)
    monkeypatch.setattr(local, "OLDEST_S", -1.0)
    assert local.load(tmp_path, empty(), PLACE) is None
