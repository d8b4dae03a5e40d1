"""Promise: a drill finds every row, snapshot or record of the ledger that does not come back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import schemas
from backup.chain import Chain, open_chain
from backup.file.archive import ArchiveWriter, piece
from backup.file.records import encode
from backup.file.summary import FULL, INCREMENT, Header, Slice, Summary
from backup.ledger_tables import write_table
from backup.restore import drill
from backup.restore.drill import Drill, Findings
from models.scoring.snapshot import LINEAR, Snapshot
from streams.durability.control_row import CONTROL_KEY, LAYOUT_KEY
from streams.durability.restorer import Restorer
from tests.doubles import Rig
from tests.doubles.rig import CONFIG, shipped_config
from tests.reference import streams

ALERT = {
    "id": "a:1", "customer": "c", "policy": "p", "kind": "alert", "time": 1, "cause": "order", "topic": "web.events",
    "partition": 0, "offset": 1, "layout": 1, "snapshots": b"", "scores": b"", "fields": b"", "values": b"\0\1",
}  # fmt: skip
LOG = streams.build(streams.random_steps(3, 400, customers=30, bad=0.0, late=0.0), 1)


DELETED: list[bytes] = []


def rows(rig: Rig) -> list[tuple[bytes, bytes]]:
    partition = rig.engine.partitions[0]
    slots = np.arange(partition.index.known)
    values, ends = partition.rows.values(slots, rig.work.layout.layout_id)
    data, stops = values.tobytes(), (8 * ends).tolist()
    cuts = zip([0, *stops], stops, strict=False)
    return [(k, data[a:b]) for k, (a, b) in zip(partition.index.keys(slots), cuts, strict=True)]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """A full backup of 30 customers and an increment that deletes one, and changes one."""
    rig = Rig()
    rig.feed({place: streams.cut(found, [50], ["none"]) for place, found in LOG.items()})
    layout, known = rig.work.layout, rows(rig)
    names = shipped_config().models.names
    snapshot = Snapshot("churn", 3, 1, LINEAR, names, 0.5, (0.1,) * len(names), 9)
    special = [(LAYOUT_KEY + str(layout.layout_id).encode(), layout.description)]
    control = (CONTROL_KEY, orjson.dumps({"offsets": {}, "layout": layout.layout_id}))
    whole = [*special, *known, control]
    change = [(known[0][0], known[1][1]), (known[2][0], None), control]
    DELETED.append(known[2][0])
    paths = []
    for name, records in (("full", whole), ("more", change)):
        header = Header(name, FULL, 1) if name == "full" else Header(name, INCREMENT, 2, "full")
        summary = Summary(partitions=1, changelog={"0": Slice(0, 99)})
        paths.append(tmp_path / f"{name}.backup")
        with ArchiveWriter(paths[-1], header, None) as archive:
            archive.begin("files")
            for path in CONFIG.glob("*.yaml"):
                archive.add(piece([path.name, path.read_bytes()]))
            if name == "full":
                archive.begin("table:alerts")
                archive.add(piece([list(ALERT), [list(ALERT.values())]]))
                summary.tables["alerts"] = 1
            archive.begin("models", 0)
            archive.add(encode(b"churn/3", schemas.encode("model_snapshot", snapshot.to_record())))
            archive.begin("changelog", 0)
            for record in records:
                archive.add(encode(*record))
            archive.finish(summary)
    return open_chain([paths[-1]], None)


def found(chain: Chain) -> dict[str, Any]:
    findings = Findings()
    with chain:
        Drill(chain, findings, lambda count: None).run()
    return findings.report()


def test_all_that_comes_back_is_compared(chain: Chain) -> None:
    report = found(chain)
    assert (report["ok"], report["differences"]) == (True, [])
    customers = len({record.key for records in LOG.values() for record in records})
    assert report["compared"] == {
        "config files": len(list(CONFIG.glob("*.yaml"))), "rows": customers - 1, "deleted rows": 1,
        "control rows": 1, "snapshots": 1, "rows of alerts": 1,
    }  # fmt: skip


def change(partition: Any, slot: int, word: int, value: float) -> None:
    row = partition.rows.copy(np.array([slot]))
    row[0, word] = value
    partition.rows.put_whole(np.array([slot]), row)


def flip(restorer: Any, partition: Any, batch: Any) -> None:
    change(partition, partition.index.known // 2, 9, 5.0)


def lose(restorer: Any, partition: Any, batch: Any) -> None:
    partition.rows.forget(1)


def keep(restorer: Any, partition: Any, batch: Any) -> None:
    partition.index.slot_of(DELETED[-1])


def mislead(restorer: Any, partition: Any, batch: Any) -> None:
    restorer.control = {**restorer.control, "layout": 1}


@pytest.mark.parametrize(
    ("harm", "kind"), [(flip, "rows"), (lose, "rows"), (keep, "deleted rows"), (mislead, "control rows")]
)
def test_one_word_that_differs_is_found(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, harm: Callable[..., None], kind: str
) -> None:
    class Harmed(Restorer):
        batches = 0

        def apply(self, partition: Any, batch: Any) -> None:
            super().apply(partition, batch)
            self.batches += 1
            if self.batches == 2:  # the increment's
                harm(self, partition, batch)

    monkeypatch.setattr(drill, "Restorer", Harmed)
    report = found(chain)
    assert (report["ok"], report["different"]) == (False, 1)
    assert report["differences"][0].startswith(f"{kind}: ")


def test_a_record_of_the_ledger_that_differs_is_found(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:

    def altered(connection: Any, name: str, some: Any, wanted: Any) -> int:
        return write_table(connection, name, [{**row, "time": 2} for row in some], wanted)

    monkeypatch.setattr(drill, "write_table", altered)
    report = found(chain)
    assert (report["different"], report["differences"]) == (1, ["rows of alerts: 1 came back of 1"])


def test_a_snapshot_that_no_worker_would_take_is_found(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Snapshot, "_flaw", lambda self, features: "it is odd")
    assert found(chain)["differences"] == ["snapshots: b'churn/3': snapshot churn/3 refused: it is odd"]
