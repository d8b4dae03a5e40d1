"""Promise: where topics survived, a restore leaves them as they are, and the learner goes on bit for bit."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import schemas
from backup.chain import Chain
from backup.file.summary import Range
from backup.restore.restore import Restore
from backup.restore.target_topics import TargetPartition
from config.settings import load_settings
from models.example import Example
from models.learning.learner import Learner
from operations.backup import installation, restore_backup
from streams.errors import Fatal
from tests.doubles.cluster import Cluster, wait
from tests.doubles.rig import shipped_config

FEATURES = len(shipped_config().models.names)


def example(number: int) -> dict[str, Any]:
    features = [((number * (place + 3)) % 17) / 17.0 for place in range(FEATURES)]
    return {
        "id": f"c{number}:purchase:{number}", "customer": f"c{number}", "model": "purchase",
        "label": int(features[0] > 0.4), "opened": 1_000 * number + 450, "due": 1_000 * number + 500,
        "label_time": 1_000 * number + 400, "score": 0.5, "snapshot": 0, "features": features,
    }  # fmt: skip


def test_the_learner_goes_on_bit_for_bit_beside_topics_that_survived(
    stack: ExitStack, tmp_path: Path
) -> None:
    cluster = Cluster(stack, tmp_path / "state")
    cluster.topics()
    producer = Producer({"bootstrap.servers": cluster.kafka.bootstrap})

    def send(first: int, last: int) -> None:
        for number in range(first, last):
            producer.produce(
                "training.examples", schemas.encode("training_example", example(number)), partition=2
            )
        assert producer.flush(20) == 0

    def learned() -> int:
        return cluster.committed("streamwise-learner", ["training.examples"])

    send(0, 300)
    role = cluster.role("learner")
    wait(lambda: learned() == 300)
    role.terminate()
    role.wait(15)
    send(300, 350)
    done = cluster.backup(tmp_path / "a.backup")
    assert (done["outputs"], done["rows"]) == (50, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backup.make.backup.time.time", partial(float, time.time() + 25 * 3600))
        with pytest.raises(
            Fatal, match=r"a\.backup is older than the 24 hours for which customers-changelog keeps"
        ):
            cluster.backup(tmp_path / "b.backup", since=str(tmp_path / "a.backup"))
    admin = AdminClient({"bootstrap.servers": cluster.kafka.bootstrap})
    for future in admin.delete_topics(["customers-changelog", "models"]).values():
        future.result()
    wait(lambda: not {"customers-changelog", "models"} & admin.list_topics(timeout=10).topics.keys())
    restored = restore_backup(cluster.settings, [tmp_path / "a.backup"], quiet=True)
    assert (restored["outputs"], restored["filled"]) == (0, 0)
    with pytest.raises(Fatal, match="topic customers-changelog was recreated since"):
        cluster.backup(tmp_path / "b.backup", since=str(tmp_path / "a.backup"))
    assert [path.name for path in tmp_path.glob("*.backup*")] == ["a.backup"]
    assert cluster.ends("training.examples")[2] == (0, 350)
    assert learned() == 300
    cluster.role("learner")
    send(350, 400)
    wait(lambda: learned() == 400)

    undisturbed = Learner("purchase", shipped_config().models.names)
    for number in range(400):
        record = schemas.decode(schemas.encode("training_example", example(number)))[
            1
        ]  # features become float32
        undisturbed.learn(Example.from_record(record))
    values = [schemas.decode(value)[1] for *_, value in cluster.read("models") if value is not None]
    newest = max(
        (found for found in values if found["model"] == "purchase"), key=lambda found: found["version"]
    )
    expected = undisturbed.snapshot(1)
    assert (newest["metrics"]["taken"], newest["examples"]) == (400, expected.examples)
    assert (newest["bias"], tuple(newest["weights"])) == (expected.bias, expected.weights)


class OneRange(Chain):
    """A chain that has records 10 to 19 for every output."""

    def output_range(self, topic: str, number: int) -> Range:
        return Range(10, 20)


@pytest.fixture
def restore(tmp_path: Path) -> Restore:
    at = installation(load_settings(kafka="127.0.0.1:1", state=tmp_path))
    return Restore(at, OneRange([]), lambda done, of: None)


@pytest.mark.parametrize(
    ("low", "high", "fresh"), [(0, 0, True), (10, 10, True), (0, 50, False), (15, 15, True)]
)
def test_source_topics_that_are_new_or_reach_far_enough_are_taken(
    restore: Restore, low: int, high: int, fresh: bool
) -> None:
    place = TargetPartition("web.events", 1, 10, low, high, fresh)
    assert restore._source(place) == place
    assert place.missing == max(0, 10 - high)


def test_a_source_topic_with_other_events_is_refused(restore: Restore) -> None:
    with pytest.raises(
        Fatal, match=r"web.events\[1\] has events up to offset 9, but the rows hold those before 10"
    ):
        restore._source(TargetPartition("web.events", 1, 10, 0, 9, False))


@pytest.mark.parametrize(("low", "high", "fresh"), [(0, 0, True), (0, 20, False), (30, 60, False)])
def test_output_topics_that_are_new_or_hold_it_all_are_taken(
    restore: Restore, low: int, high: int, fresh: bool
) -> None:
    restore._output(TargetPartition("alerts", 0, 10, low, high, fresh))


@pytest.mark.parametrize(("low", "high", "fresh"), [(0, 15, False), (12, 12, True)])
def test_an_output_topic_that_holds_a_part_is_refused(
    restore: Restore, low: int, high: int, fresh: bool
) -> None:
    with pytest.raises(
        Fatal, match=r"alerts\[0\] is at offset \d+, but the backup has records 10 to 19 for it"
    ):
        restore._output(TargetPartition("alerts", 0, 10, low, high, fresh))


def test_what_an_event_behind_the_rows_caused_is_left_out_only_where_its_source_is_new(
    restore: Restore,
) -> None:
    restore._sources = [
        TargetPartition("web.events", 0, 10, 0, 0, True),
        TargetPartition("web.events", 1, 10, 0, 50, False),
    ]
    assert [restore._undone("web.events", 0, offset) for offset in (9, 10, 11)] == [False, True, True]
    assert not restore._undone("web.events", 1, 11)
    assert not restore._undone("", 0, -1)
