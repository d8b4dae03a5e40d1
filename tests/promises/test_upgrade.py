"""Promise: two versions of the rows' layout side by side in one group, and back again, lose nothing that both know."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from confluent_kafka import Producer

import schemas
from agents.registry import snapshot_key
from agents.topology.topics import topics
from bench.servers import KafkaServer
from customers.row.layout import Group, Layout
from models.config import load_models
from models.scoring.snapshot import LINEAR, Snapshot
from pipeline.config import load_config
from schemas.topics import MODELS
from streams.kafka.embedded_broker import PARTITIONS
from streams.kafka.topic_admin import ensure
from tests.doubles import Rig
from tests.doubles.configs import GONE_FEATURES, changed_config
from tests.doubles.rig import CONFIG
from tests.promises.test_crash import (
    CHANGELOG,
    EVENTS,
    KEEP,
    LOG,
    OUTPUTS,
    PATIENCE_S,
    RECORDS_A_BATCH,
    SOURCES,
    Cluster,
)
from tests.reference import streams

SLOW_S, PLAIN_S = 0.02, 0.01  # a batch: while somebody comes or goes, and between
STAGE = EVENTS // 60  # events that are folded, at least, by those who are there
LAYOUT_KEY = b"\0layout:"
Rows = dict[tuple[int, bytes], dict[str, bytes]]


@dataclass
class Version:
    """One version of the configuration, and what an undisturbed worker makes of the log with it."""

    folder: Path
    rig: Rig

    @property
    def layout(self) -> Layout:
        return self.rig.work.layout

    def rows(self) -> Rows:
        return {place: named(row, self.layout.groups) for place, row in self.rig.row_bytes().items()}

    @cache  # noqa: B019 (one of each)
    def outputs(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The decoded outputs by topic and id."""
        decoded = (
            (sent.topic, schemas.decode(sent.value)[1])
            for sent in self.rig.outputs.sent
            if sent.topic in OUTPUTS
        )
        return {(topic, record["id"]): record for topic, record in decoded}

    def __hash__(self) -> int:
        return id(self)


def named(row: bytes, groups: list[Group]) -> dict[str, bytes]:
    """A row's words by the group's name and meaning."""
    return {
        f"{group.name} {[*group.meaning]}": row[8 * group.start : 8 * (group.start + group.words)]
        for group in groups
    }


@cache
def snapshots() -> tuple[Snapshot, ...]:
    """They weigh what every version here has: each of them scores with them by name."""
    draw = random.Random(5)
    models = load_models(CONFIG / "models.yaml")
    seen = tuple(name for name in models.names if name not in GONE_FEATURES)
    weights = [tuple(draw.uniform(-0.3, 0.3) for _ in seen) for _ in models.models]
    return tuple(
        Snapshot(model.name, 1, 0, LINEAR, seen, 0.1, some, examples=1)
        for model, some in zip(models.models, weights, strict=True)
    )


def undisturbed(folder: Path) -> Version:
    config = load_config(folder)
    rig = Rig(config=config)
    for snapshot in snapshots():
        rig.work.offer(snapshot.aligned(config.models.names))
    rig.feed({place: streams.cut(records, [RECORDS_A_BATCH], ["none"]) for place, records in LOG.items()})
    return Version(folder, rig)


@pytest.fixture(scope="module")
def old() -> Version:
    return undisturbed(CONFIG)


class Staged(Cluster):
    """Workers come and go in the middle of the log, however long it takes them: the pace is slow meanwhile."""

    pace: Path
    records_a_batch = 3  # and a fetch brings one: commits are never far behind

    def join(self, version: Version, **settings: str) -> Any:
        """A worker of this version more; returns when all have folded for a while with it."""
        self.set_pace(SLOW_S)
        worker = self.start(pause=self.pace, STREAMWISE_CONFIG=str(version.folder), **settings)
        self._stage()
        return worker

    def leave(self, worker: Any, how: signal.Signals) -> None:
        """A worker less; returns when the others have folded of each partition, and then for a while."""
        before = self.by_partition()
        self.set_pace(SLOW_S)
        self.stop(worker, how)
        ends = [sum(len(LOG[topic, number]) for topic in SOURCES) for number in range(PARTITIONS)]
        assert all(then < end for then, end in zip(before, ends, strict=True)), (
            "too fast: a partition is at its end"
        )
        until = time.monotonic() + PATIENCE_S
        while any(now <= then for now, then in zip(self.by_partition(), before, strict=True)):
            assert time.monotonic() < until
            self.alive()
        self._stage()

    def _stage(self) -> None:
        before = self.committed()
        self.set_pace(PLAIN_S)
        self.wait(min(before + STAGE, EVENTS))
        self.set_pace(SLOW_S)

    def set_pace(self, pause_s: float) -> None:
        new = self.pace.with_suffix(".new")
        new.write_text(str(pause_s))
        new.replace(self.pace)  # nobody reads half of it

    def by_partition(self) -> list[int]:
        """How many events of each partition number are committed."""
        found = self.committed_at()
        return [sum(found[topic, number] for topic in SOURCES) for number in range(PARTITIONS)]

    def finish(self, worker: Any) -> None:
        self.set_pace(0.0)
        self.wait(EVENTS)
        self.stop(worker, signal.SIGTERM)
        assert worker.returncode == 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Staged]:
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"
    with KafkaServer(properties=KEEP) as kafka:
        found = Staged(kafka.bootstrap)
        found.pace = tmp_path / "pace"
        ensure(found.bootstrap, topics(SOURCES), partitions=PARTITIONS, replication=1)
        found.fill()
        producer = Producer({"bootstrap.servers": found.bootstrap})
        for snapshot in snapshots():
            value = schemas.encode("model_snapshot", snapshot.to_record())
            producer.produce(MODELS, key=snapshot_key(snapshot.model, 1), value=value)
        assert producer.flush(20) == 0
        try:
            yield found
        finally:
            found.close()


def newest_rows(cluster: Staged, versions: list[Version]) -> tuple[Rows, set[int]]:
    """The newest row of each customer by the names that its own layout gives its words, and the layouts met."""
    layouts = {version.layout.layout_id: version.layout for version in versions}
    described: dict[tuple[int, int], Any] = {}
    found: Rows = {}
    met = set()
    for number, key, value in cluster.read(CHANGELOG):
        if key.startswith(LAYOUT_KEY):
            described[number, int(key[len(LAYOUT_KEY) :])] = orjson.loads(value)["groups"]
        elif not key.startswith(b"\0"):
            (layout_id,) = np.frombuffer(value[:8], np.int64).tolist()
            assert (number, layout_id) in described, "a row comes before the layout that describes it"
            met.add(layout_id)
            layout = layouts[layout_id]
            found[number, key] = named(unpacked(value, layout.default_row), layout.groups)
    return found, met


def unpacked(value: bytes, new: Any) -> bytes:
    masks = -(-len(new) // 64)
    mask = int.from_bytes(value[8 : 8 + 8 * masks], "little")
    rest = value[8 + 8 * masks :]
    assert len(rest) == 8 * mask.bit_count()
    there = iter(np.frombuffer(rest, np.int64).tolist())
    words = enumerate(new.view(np.int64).tolist())
    return np.array([word ^ next(there) if mask >> place & 1 else word for place, word in words]).tobytes()


def common_words_are_those_of_an_undisturbed_run(found: Rows, old: Version, new: Version) -> None:
    expected, others = old.rows(), new.rows()
    assert found.keys() == expected.keys()
    common = next(iter(expected.values())).keys() & next(iter(others.values())).keys()
    assert len(common) > 60
    wrong = [
        (place, name)
        for place, words in expected.items()
        for name in common
        if found[place][name] != words[name] or others[place][name] != words[name]
    ]
    assert wrong == []


def outputs_are_complete(cluster: Staged, old: Version, new: Version, *, examples: bool) -> None:
    """`examples`: both versions see the same features, so that no open example is dropped on the way.

    One that is dropped makes room: the next event that asks its model's question opens another, which an undisturbed
    run, whose example is still open, does not have.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for topic in OUTPUTS:
        for _, _, value in cluster.read(topic):
            record = schemas.decode(value)[1]
            found.setdefault((topic, record["id"]), []).append(record)
    common = {policy.name for policy in old.rig.config.policies} & {
        policy.name for policy in new.rig.config.policies
    }

    def due(outputs: Mapping[tuple[str, str], dict[str, Any]]) -> set[tuple[str, str]]:
        return {
            at
            for at, record in outputs.items()
            if record.get("policy", "") in common or (examples and "label" in record)
        }

    expected = due(old.outputs())
    assert expected == due(new.outputs())
    assert expected - found.keys() == set(), "missing"
    extra = found.keys() - (old.outputs().keys() | new.outputs().keys())
    allowed = set() if examples else asked_again(old)
    assert {records[0].get("model") for records in map(found.pop, extra)} <= allowed, "made up"
    views = {version.layout.layout_id: list(version.layout.view_index) for version in (old, new)}
    written = {
        record["receipt"]["layout"] for records in found.values() for record in records if "receipt" in record
    }
    assert written == views.keys()
    both = [name for name in old.layout.view_index if name in new.layout.view_index]
    for at, records in found.items():
        undisturbed_run = old.outputs().get(at) or new.outputs()[at]
        for record in records:
            assert comparable(record, views, both) == comparable(undisturbed_run, views, both), at
            # a sum of the same products in another order
            assert scores(record) == pytest.approx(scores(undisturbed_run), rel=1e-9, nan_ok=True), at


def asked_again(version: Version) -> set[str]:
    """The models with events that would open an example, but do not close the one that is open."""
    models = version.rig.config.models.models
    return {model.name for model in models if model.amount is not None or not {*model.open} <= {*model.proof}}


def scores(record: dict[str, Any]) -> list[float]:
    return [record["score"]] if "receipt" not in record else list(record["receipt"]["scores"])


def comparable(record: dict[str, Any], views: dict[int, list[str]], both: list[str]) -> Any:
    """What has to be the same whichever version wrote it."""
    if "receipt" not in record:
        return [record[name] for name in ("id", "label", "opened", "due", "label_time", "snapshot")]
    receipt = record["receipt"]
    values = dict(zip(views[receipt["layout"]], receipt["values"], strict=True))
    plain = [
        record[name]
        for name in ("customer", "policy", "kind", "time", "cause", "topic", "partition", "offset")
    ]
    return repr(
        [*plain, receipt["fields"], receipt["snapshots"], [values[name] for name in both]]
    )  # NaN is NaN


def test_two_layouts_side_by_side_and_a_downgrade(cluster: Staged, old: Version, tmp_path: Path) -> None:
    new = undisturbed(changed_config(tmp_path / "new"))
    assert new.layout.layout_id != old.layout.layout_id
    first_old = cluster.join(old)
    first_new = cluster.join(new)  # side by side
    cluster.leave(first_old, signal.SIGKILL)  # all new for a while
    second_old = cluster.join(old)  # and some go back
    cluster.leave(second_old, signal.SIGTERM)  # all new
    third_old = cluster.join(old)  # the downgrade
    cluster.leave(first_new, signal.SIGTERM)
    cluster.finish(third_old)
    found, met = newest_rows(cluster, [old, new])
    assert met == {old.layout.layout_id, new.layout.layout_id}
    common_words_are_those_of_an_undisturbed_run(found, old, new)
    outputs_are_complete(cluster, old, new, examples=False)


def test_each_version_is_the_standby_of_the_other(cluster: Staged, old: Version, tmp_path: Path) -> None:
    new = undisturbed(changed_config(tmp_path / "new", features=False))
    first_old = cluster.join(old, STREAMWISE_STANDBYS="1")
    first_new = cluster.join(new, STREAMWISE_STANDBYS="1")
    cluster.leave(first_old, signal.SIGTERM)  # its partitions go to a standby of the other layout
    second_old = cluster.join(old, STREAMWISE_STANDBYS="1")
    cluster.leave(first_new, signal.SIGKILL)
    cluster.finish(second_old)
    found, met = newest_rows(cluster, [old, new])
    assert met == {old.layout.layout_id, new.layout.layout_id}
    common_words_are_those_of_an_undisturbed_run(found, old, new)
    outputs_are_complete(cluster, old, new, examples=True)
