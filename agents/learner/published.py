"""What the models topic holds now, read to its end: where a learner goes on, and which versions are old."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from agents.registry import check_key, read_snapshot
from models.config import MAIN, Learning, ModelSpec
from models.learning import DEFAULT, Learner
from models.scoring import LARGEST_VERSION, Snapshot
from models.selection import Champion, champion_of
from streams.errors import Poison
from streams.kafka import Kafka, read_to_end

log = logging.getLogger(__name__)


def partition_of(model: str, partitions: int) -> int:
    """All versions of a model stand in one partition, so that they are read in order."""
    return crc32(model.encode()) % partitions


class Restored(NamedTuple):
    """A learner, the offsets applied to it, whether its snapshot is the newest of all (after an older one, examples
    have to be learned again), and the contests in it."""

    learner: Learner
    applied: dict[str, int]
    newest: bool
    contest: bytes


@dataclass(slots=True)
class ModelSnapshots:
    """One model's snapshots: those that can be read by version, and every version that is there."""

    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    versions: set[int] = field(default_factory=set)

    def restore(
        self, model: str, features: tuple[str, ...], learning: Learning = DEFAULT, *, amounts: bool = False
    ) -> Restored:
        """A learner of `model` that goes on from the newest snapshot that can be restored."""
        newest = max(self.versions, default=0)
        for version in sorted(self.snapshots, reverse=True):
            snapshot = self.snapshots[version]
            try:
                learner = Learner.restore(snapshot, features, learning, amounts=amounts)
                if learner.model != model:
                    raise Poison(f"its state is one of {learner.model}")
            except Poison as error:
                log.error("snapshot %s/%d cannot be gone on from: %s", snapshot.model, version, error)
                continue
            learner.version = newest
            return Restored(learner, dict(snapshot.applied), version == newest, snapshot.contest)
        learner = Learner(model, features, learning, amounts=amounts)
        learner.version = newest
        return Restored(learner, {}, newest == 0, b"")


def read_published(bootstrap: Kafka, topic: str) -> dict[str, ModelSnapshots]:
    """All snapshots in `topic` by model. Raises `Retryable` when the topic cannot be read to its end."""
    found: dict[str, ModelSnapshots] = {}
    for record in read_to_end(bootstrap, topic, group="streamwise-published"):
        _take(found, record.key or b"", record.value)
    return found


def restore_family(
    published: Mapping[str, ModelSnapshots], spec: ModelSpec, features: tuple[str, ...]
) -> tuple[Champion, dict[str, Restored]]:
    """A model's champion and challengers as they were published last, and what each goes on from.

    A learner that is new in the config starts from nothing.
    """
    family, amounts = Champion.of(spec, features), spec.amount is not None
    leading = published.get(spec.name, ModelSnapshots())
    found = leading.restore(spec.name, features, spec.learners[MAIN], amounts=amounts)
    champion = champion_of(found.contest)
    if champion in spec.learners and champion != MAIN:
        found = leading.restore(spec.name, features, spec.learners[champion], amounts=amounts)
    family.restore(found.contest)
    restored = {}
    for name, learning in spec.learners.items():
        if name == champion:
            restored[name] = found
        else:
            own = published.get(f"{spec.name}@{name}", ModelSnapshots())
            restored[name] = own.restore(spec.name, features, learning, amounts=amounts)
        family.learners[name] = restored[name].learner
    family.leader.version = max(family.leader.version, found.learner.version)
    return family, restored


def _take(found: dict[str, ModelSnapshots], key: bytes, value: bytes | None) -> None:
    model, _, number = key.decode("utf-8", "replace").rpartition("/")
    if not (model and number.isascii() and number.isdecimal() and 0 < int(number[:20]) <= LARGEST_VERSION):
        log.warning("topic of the models: key %r is not model/version", key)
        return
    version = int(number)
    published = found.setdefault(model, ModelSnapshots())
    if value is None:
        published.versions.discard(version)
        published.snapshots.pop(version, None)
        return
    published.versions.add(version)
    try:
        snapshot = read_snapshot(value)
        check_key(key, snapshot)
        published.snapshots[version] = snapshot
    except Poison as error:
        published.snapshots.pop(version, None)
        log.error("snapshot %s: %s", key.decode("utf-8", "replace"), error)
