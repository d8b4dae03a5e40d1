"""The engine with the shipped config, fed with raw batches in process, and its rows by the reference's names."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import schemas
from models.scoring.snapshot import LINEAR
from models.scoring.snapshot import Snapshot as ModelSnapshot
from pipeline.config import Config, load_config
from pipeline.live_pass import LivePass
from streams.batches.record_batch import parse_batch
from streams.engine.engine import Engine
from streams.engine.outbox import Outbox
from tests.doubles.outputs import CapturedOutputs, Sent
from tests.reference import columns as kinds
from tests.reference.declared import Column, Declared, declare
from tests.reference.scoring import Snapshot

CONFIG = Path(__file__).parents[2] / "config"
FILES = (CONFIG / "features.yaml", CONFIG / "models.yaml", CONFIG / "policies.yaml")
PLACES = 64  # rows that stand whole: few, so that most come and go
Batches = Mapping[tuple[str, int], Sequence[bytes]]


@cache
def shipped_config() -> Config:
    """The three files of `config/`."""
    return load_config(CONFIG)


@cache
def declared() -> Declared:
    """The same, as the reference reads them."""
    return declare(*FILES)


def weights(seed: int, version: int = 1) -> dict[str, Snapshot]:
    """A made-up snapshot of each model, whose scores spread over 0 to 1."""
    draw = random.Random(seed)
    count = len(declared().features)
    return {
        model.name: Snapshot(
            version + number, draw.uniform(-1, 1), [draw.uniform(-0.3, 0.3) for _ in range(count)]
        )
        for number, model in enumerate(declared().models)
    }


def model_snapshots(snapshots: Mapping[str, Snapshot]) -> list[Any]:
    """The reference's snapshots as the live pass takes them."""
    features = tuple(
        str(number) for number in range(max((len(s.weights) for s in snapshots.values()), default=0))
    )
    return [
        ModelSnapshot(name, found.version, 1, LINEAR, features, found.bias, tuple(found.weights), examples=1)
        for name, found in snapshots.items()
    ]


class Rig:
    """An engine over a live pass whose outputs are kept. `outbox`: one of another size than usual."""

    def __init__(
        self,
        snapshots: Mapping[str, Snapshot] | None = None,
        *,
        config: Config | None = None,
        columns: Sequence[Column] | None = None,
        outputs: CapturedOutputs | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """`columns`: those of another `config`, as the reference reads them."""
        self.config = config or shipped_config()
        self.columns = declared().columns if columns is None else columns
        self.work = LivePass(self.config)
        self.topics = list(self.work.layout.topics)
        self.outputs = outputs or CapturedOutputs()
        self.engine = Engine(self.topics, self.work, self.outputs, places=PLACES)  # type: ignore[arg-type]
        if outbox is not None:
            self.engine.outbox = outbox
        self.offer(snapshots or {})

    def offer(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Make snapshots known; partitions that are new take them up."""
        for snapshot in model_snapshots(snapshots):
            self.work.offer(snapshot)

    def live(self, number: int, position: int = 0) -> Any:
        """The partition of this number, live."""
        partition = self.engine.partition(number)
        if not partition.live:
            partition.activate()
            partition.positions[:] = np.maximum(partition.positions, position)
            self.work.adopt(partition, self.work.offered(partition))
        return partition

    # -- in

    def receive(self, topic: str, number: int, raw: bytes, *, fold: bool = False) -> None:
        """One raw batch, as the transport hands it over."""
        partition = self.live(number)
        first = int(partition.positions[self.topics.index(topic)])
        batch = parse_batch(raw, first=max(first, 0))
        if fold:
            self.engine.on_batch(topic, number, batch)
        else:
            self.engine.receive(topic, number, batch)

    def announce(self, batches: Batches) -> None:
        """Say how far each topic reaches, so that the merge waits for all of it."""
        for (topic, number), raws in batches.items():
            if raws:
                end = parse_batch(raws[-1], first=0).next_offset
                ends = self.live(number).ends
                which = self.topics.index(topic)
                ends[which] = max(ends[which], end)

    def feed(self, batches: Batches, *, order: Callable[[list[Any]], None] | None = None) -> None:
        """All batches, known to be there from the start; each is folded as soon as it may.

        `order` shuffles the list of (topic, partition) that says whose next batch comes; topic by topic if not given.
        """
        self.announce(batches)
        queues = {place: list(raws) for place, raws in batches.items()}
        turns = [place for place, raws in queues.items() for _ in raws]
        if order is not None:
            order(turns)
        for place in turns:
            self.receive(*place, queues[place].pop(0), fold=True)

    # -- out

    def dump(self) -> dict[tuple[int, bytes], dict[str, Any]]:
        """Every row's words under the names of `Reference.dump`."""
        return {
            (number, partition.index.key(slot)): named_words(
                self.work, partition.rows.copy(np.array([slot]))[0], self.columns
            )
            for number, partition in sorted(self.engine.partitions.items())
            for slot in range(partition.index.known)
            if partition.index.spans[slot] >= 0
        }

    def row_bytes(self) -> dict[tuple[int, bytes], bytes]:
        """Every row as it stands in memory."""
        return {
            (number, partition.index.key(slot)): partition.rows.copy(np.array([slot]))[0].tobytes()
            for number, partition in self.engine.partitions.items()
            for slot in range(partition.index.known)
            if partition.index.spans[slot] >= 0
        }

    def sent(self) -> dict[tuple[str, int], list[Sent]]:
        """What was sent, in order, by (topic, partition)."""
        found: dict[tuple[str, int], list[Sent]] = {}
        for sent in self.outputs.sent:
            found.setdefault((sent.topic, sent.partition), []).append(sent)
        return found

    def decoded(self) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """The same, decoded with fastavro; decisions and examples only."""
        return {
            place: [schemas.decode(one.value)[1] for one in sent]
            for place, sent in self.sent().items()
            if place[0] in self.work.outputs
        }

    def dead_letters(self) -> list[dict[str, Any]]:
        """The dead letters, decoded."""
        return [schemas.decode(sent.value)[1] for sent in self.outputs.of("dead-letters")]


def named_words(work: LivePass, row: Any, columns: Sequence[Column]) -> dict[str, Any]:
    """A row's words by the names of `Reference.dump`."""
    message_ids = work.config.features.message_ids
    layout = work.layout
    whole = row.view(np.int64)
    words: dict[str, Any] = {"clock": row[0]}
    words |= {f"applied.{topic}": int(whole[1 + which]) for which, topic in enumerate(layout.topics)}
    words["ids.count"] = row[layout.ring_at]
    words |= {f"ids[{index}]": int(whole[layout.ring_at + 1 + index]) for index in range(message_ids)}
    for column in columns:
        start = layout.column_at[column.name]
        for place, word in enumerate(kinds.new_words(column)):
            bitmap = word == "bitmap"
            value = int(whole[start + place]) % 2**64 if bitmap else row[start + place]
            words[f"{column.name}.{word}"] = value
    features = len(work.config.models.features)
    for name, start in layout.example_at.items():
        packed = row[start + 4 :].view(np.float32)[:features]
        values = (row[start], row[start + 1], row[start + 2], int(whole[start + 3]), tuple(packed.tolist()))
        names = ("opened", "due", "score", "snapshot", "features")
        words |= {f"model.{name}.{word}": value for word, value in zip(names, values, strict=True)}
        kept = {what: layout.kept_at(name, what) for what in ("sum", "same")}
        words |= {f"model.{name}.{what}": row[at] for what, at in kept.items() if at}
    for name, start in layout.policy_at.items():
        words |= {f"policy.{name}.last_fired": row[start], f"policy.{name}.inside": row[start + 1]}
    return words


def shuffled(seed: int) -> Callable[[list[Any]], None]:
    """For `Rig.feed(order=...)`: any interleaving of the topics and partitions."""
    return random.Random(seed).shuffle


def all_sent(rigs: Iterable[Rig]) -> list[list[Sent]]:
    """What each rig sent."""
    return [rig.outputs.sent for rig in rigs]
