"""Promise: what is restored from a backup of a running cluster goes on as if nothing had happened."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import schemas
from backup.file.key import new_key, read_key
from operations.backup import drill, restore_backup
from schemas.topics import OUTCOMES
from serving.ledger.tables import storable
from streams.errors import Fatal
from tests.doubles import Rig
from tests.doubles.cluster import PARTITIONS, RECORDS_A_BATCH, SOURCES, Cluster, end, wait
from tests.doubles.rig import weights
from tests.reference import streams
from tests.reference.record import Log

EVENTS = 5_000
START_MS = 1_500_000_000_000  # so that it ends in the past: Kafka refuses records of tomorrow
PAUSE_S = 0.03  # a batch


def recorded() -> Log:
    """No two events at one time and none late, so that they merge in one way only."""
    steps = streams.random_steps(11, EVENTS, customers=120, bad=0.0, late=0.0, jump=0.001)
    punctual = [replace(step, advance_ms=max(1, step.advance_ms), skipped_offsets=0) for step in steps]
    return streams.build(punctual, PARTITIONS, START_MS)


LOG = recorded()
SNAPSHOTS = weights(3)


def undisturbed() -> Rig:
    rig = Rig(SNAPSHOTS)
    rig.feed({place: streams.cut(records, [RECORDS_A_BATCH], ["none"]) for place, records in LOG.items()})
    return rig


def test_a_new_cluster_goes_on_where_a_backup_of_the_running_old_one_ends(
    stack: ExitStack, tmp_path: Path
) -> None:
    old = Cluster(stack, tmp_path / "old")
    old.topics()
    old.send_snapshots(SNAPSHOTS)
    middle_ms = sorted(one.timestamp for found in LOG.values() for one in found)[int(0.75 * EVENTS)]
    old.send({place: [one for one in found if one.timestamp < middle_ms] for place, found in LOG.items()})
    key, full, more = (str(tmp_path / name) for name in ("key", "full.backup", "more.backup"))
    new_key(Path(key))
    ledger, worker = old.role("ledger"), old.worker(PAUSE_S)
    old.wait(EVENTS // 5)
    first = old.backup(full, key)
    old.wait(EVENTS // 2)
    second = old.backup(more, key, since=full)
    died = old.cli(
        "backup",
        never := str(tmp_path / "never"),
        "--key",
        key,
        killed=("backup.file.archive:ArchiveWriter._chunk", 3),
    )
    assert died.returncode == -signal.SIGKILL
    assert not Path(never).exists()
    trial = drill(old.settings, Path(more), key=read_key(Path(key)), quiet=True)
    assert (trial["ok"], trial["not_compared_with_cluster"]) == (True, ""), trial
    compared = trial["compared"]
    assert compared["rows"] == 120
    assert compared["control rows"] == PARTITIONS
    assert compared["snapshots"] == len(SNAPSHOTS)
    assert compared["live rows"] + compared.get("live rows changed since", 0) == 120
    assert compared["live outputs"] == first["outputs"] + second["outputs"]
    for name in ("alerts", "offers"):
        assert compared[f"rows of {name}"] == compared[f"live rows of {name}"] == first["tables"][name] > 0
    assert (first["kind"], second["kind"], second["parent"]) == ("full", "increment", first["id"])
    end(worker)
    ledger.terminate()

    new = Cluster(stack, tmp_path / "new")
    arguments = ("restore", more, "--key", key, "--json")
    for place in (
        ("backup.restore.target_topics:Cluster.delete_before", 1),  # sources are filled
        ("backup.restore.restore:Restore._send", 4),
        ("backup.restore.restore:_commit", 3),  # all but the offsets
    ):
        assert new.cli(*arguments, killed=place).returncode == -signal.SIGKILL, place
    secret = read_key(Path(key))
    restored = restore_backup(new.settings, [Path(more)], key=secret, quiet=True)
    assert restored["new_sources"] == len(LOG) - PARTITIONS  # what becomes of offers is in the backup
    with pytest.raises(Fatal, match=r"is not empty, as a restore of backup \w+ was done here: "):
        restore_backup(new.settings, [Path(full), Path(more)], key=secret, quiet=True)

    bounds = {(t, n): found for t in SOURCES for n, found in enumerate(new.ends(t))}
    assert all(low == high for (topic, _), (low, high) in bounds.items() if topic != OUTCOMES)
    starts = {place: high for place, (_, high) in bounds.items()}
    assert EVENTS // 2 <= new.committed() <= sum(starts.values()) < EVENTS
    rest = {place: [one for one in found if one.offset >= starts[place]] for place, found in LOG.items()}
    new.send(rest)
    new.role("ledger")
    worker = new.worker(0.0)
    new.wait(EVENTS)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0

    expected = undisturbed()
    rows, wanted = new.rows(), expected.row_bytes()
    assert rows.keys() == wanted.keys()
    assert [place for place in rows if rows[place] != wanted[place]] == []
    decisions: dict[str, dict[str, dict[str, Any]]] = {"alerts": {}, "offers": {}}
    for sent in expected.outputs.sent:
        if sent.topic in decisions:
            decision = schemas.decode(sent.value)[1]
            decisions[sent.topic][storable(decision["id"])] = decision
    assert all(decisions.values())
    counts = {name: len(found) for name, found in decisions.items()}
    wait(lambda: {name: len(found) for name, found in new.ledger().items()} == counts)
    for name, kept in new.ledger().items():
        assert {row["id"]: (row["policy"], row["time"], row["offset"]) for row in kept} == {
            id_: (d["policy"], d["time"], d["offset"]) for id_, d in decisions[name].items()
        }
    examples = [s for s in expected.outputs.sent if s.topic == "training.examples"]
    found = [schemas.decode(value or b"")[1]["id"] for *_, value in new.read("training.examples")]
    assert set(found) == {schemas.decode(sent.value)[1]["id"] for sent in examples}
