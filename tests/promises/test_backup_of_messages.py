"""Promise: what readers learned and what they have not read yet is in a backup, and goes on in a new cluster."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

import schemas
from config.settings import ROOT
from models.text.corrections import Correction
from models.text.message_reader import MessageReader
from operations.backup import restore_backup
from schemas.topics import CORRECTIONS, MESSAGES, SOCIAL
from tests.doubles.cluster import Cluster, wait

TEXTS = ("The parcel never arrived!", "客服很好，谢谢", "Well, that was quick.")


def message(number: int) -> dict[str, Any]:
    text = TEXTS[number % len(TEXTS)]
    sent = {"message_id": f"m{number}", "time": 1_700_000_000_000, "kind": "email", "text": text}
    return schemas.decode(schemas.encode("social_event", sent))[1]


def send(cluster: Cluster, topic: str, values: list[bytes], partition: int) -> None:
    producer = Producer({"bootstrap.servers": cluster.kafka.bootstrap})
    for value in values:
        producer.produce(topic, value, b"anna", partition=partition)
    assert producer.flush(20) == 0


def read(cluster: Cluster, messages: int) -> None:
    """Let a reader read so many more, and stop it."""
    before = cluster.committed("streamwise-reader", [MESSAGES])
    role = cluster.role("reader")
    wait(lambda: cluster.committed("streamwise-reader", [MESSAGES]) == before + messages)
    role.terminate()
    role.wait(15)


def test_a_reader_goes_on_in_a_new_cluster_with_all_that_it_learned(stack: ExitStack, tmp_path: Path) -> None:
    old, new = Cluster(stack, tmp_path / "old"), Cluster(stack, tmp_path / "new")
    old.topics()
    told = [{"id": f"c{n}", "time": n, "text": f"{TEXTS[2]} {n}", "sentiment": -0.75} for n in range(12)]
    corrections = [schemas.encode("correction", one) for one in told]
    values = [schemas.encode("social_event", message(n)) for n in range(30)]
    send(old, CORRECTIONS, corrections[:8], 0)
    send(old, MESSAGES, values[:10], 2)
    read(old, 10)
    old.backup(tmp_path / "a.backup")
    send(old, MESSAGES, values[10:20], 2)
    send(old, CORRECTIONS, corrections[8:], 0)
    read(old, 10)
    send(old, MESSAGES, values[20:], 2)
    old.backup(tmp_path / "b.backup", since=str(tmp_path / "a.backup"))

    new.topics()
    restored = restore_backup(new.settings, [tmp_path / "b.backup"], quiet=True)
    assert (
        restored["outputs"] == 12 + 20
    )  # what came since the first backup is in the increment, taken or not
    assert [value for _, _, _, value in new.read(CORRECTIONS)] == corrections
    read(new, 10)
    twin = MessageReader.of(ROOT / "config" / "phrases.yaml")
    for one in told:
        twin.learn(Correction(str(one["text"]), -0.75))
    wanted = [message(number) for number in range(20, 30)]
    for each in wanted:
        twin.complete(each)
    assert [schemas.decode(value or b"")[1] for *_, value in new.read(SOCIAL)] == wanted
