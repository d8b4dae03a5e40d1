"""The live pass as the worker wires it: names for conditions, snapshots, rows that are not live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import load_config
from streams.batches.record_batch import parse_batch
from streams.engine.partition import Partition
from tests.doubles import Rig, weights
from tests.doubles.rig import CONFIG, PLACES
from tests.reference import streams

IN_FORCE = {"purchase": 4, "churn": 5, "response": 6, "lead": 7, "value": 8}


def test_strings_of_events_can_be_compared_with_strings(tmp_path: Path) -> None:
    for name in ("features", "models"):
        (tmp_path / f"{name}.yaml").write_text(
            (CONFIG / f"{name}.yaml").read_text(encoding="utf-8"), encoding="utf-8"
        )
    policy = "{kind: alert, on: [view], when: event.category = 'shoes', cooldown: 1d, message: m}"
    (tmp_path / "policies.yaml").write_text(f"policies:\n  shoes: {policy}\n", encoding="utf-8")
    assert "event.category" in load_config(tmp_path).names.strings


def test_each_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is replaced meanwhile is taken as it was or as it is, never both."""
    read: list[str] = []
    opened = Path.open

    def noted(path: Path, *given: Any, **more: Any) -> Any:
        read.append(path.name)
        return opened(path, *given, **more)

    monkeypatch.setattr(Path, "open", noted)
    load_config(CONFIG)
    assert sorted(name for name in read if name.endswith(".yaml")) == [
        "features.yaml",
        "models.yaml",
        "policies.yaml",
    ]


def test_nothing_is_folded_into_rows_that_are_not_restored_yet() -> None:
    rig = Rig()
    log = streams.random_log(1, 50, partitions=1, bad=0.0)
    place = ("web.events", 0)
    rig.engine.on_batch(*place, parse_batch(streams.cut(log[place], [50], ["none"])[0], first=0))
    partition = rig.engine.partitions[0]
    assert not partition.live
    assert rig.engine.counters.events == 0
    assert partition.inbox.pending.sum() == len(log[place])
    assert rig.outputs.sent == []


def test_a_snapshot_that_is_not_known_leaves_the_one_in_force() -> None:
    rig = Rig(weights(1, version=4))
    partition = rig.live(0)
    assert rig.work.in_force(partition) == IN_FORCE
    rig.work.adopt(partition, {"purchase": 77, "churn": 5, "gone": 1})
    assert rig.work.in_force(partition) == IN_FORCE


def test_an_older_snapshot_that_comes_late_is_not_taken_up() -> None:
    rig = Rig(weights(1, version=4))
    rig.offer(weights(2, version=2))
    assert rig.work.newest == IN_FORCE


def test_views_are_those_of_the_row_and_their_packed_form_reads_back() -> None:
    rig = Rig(weights(1))
    rig.feed(streams.random_batches(streams.random_log(9, 300, partitions=1), 9))
    partition, slot = rig.engine.partitions[0], 0
    values = rig.work.view_values(partition, slot)
    (blob,) = rig.work.packed_views(partition, np.array([slot]))
    unpacked = rig.work.unpack_view(blob)
    assert unpacked.pop("time") == partition.rows.copy(np.array([slot]))[0, 0]
    assert unpacked == pytest.approx(values, nan_ok=True)
    assert rig.work.unpack_view(blob[:-8]) == {}


def test_more_deadlines_fire_in_silence_than_rows_stand_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(weights(1))
    rig.feed(streams.random_batches(streams.random_log(3, 3000, customers=40 * PLACES, partitions=1), 3))
    engine, partition = rig.engine, rig.engine.partitions[0]
    sent, drain = len(rig.outputs.sent), engine._drain
    turns = iter(range(1000))

    def counted(of: Partition) -> None:
        next(turns)  # ends a loop that has none
        drain(of)

    monkeypatch.setattr(engine, "_drain", counted)
    engine.raise_watermark(partition, streams.START_MS + 900 * streams.DAY)
    assert len(rig.outputs.sent) - sent > 4 * PLACES
