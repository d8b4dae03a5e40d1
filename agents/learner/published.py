"""Reads the models topic to its end: the snapshots a learner resumes from, and the versions that exist."""

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
    """Return the partition of a model, one for all its versions, so that roles read them in order."""
    return crc32(model.encode()) % partitions


class Restored(NamedTuple):
    """A learner restored from a snapshot. `applied`: the offset applied to it, by partition. `newest`: no newer version
    exists; otherwise it has to learn some examples again. `contest`: the state of the champion's contests."""

    learner: Learner
    applied: dict[str, int]
    newest: bool
    contest: bytes


@dataclass(slots=True)
class ModelSnapshots:
    """One model's published snapshots. `snapshots`: the readable ones, by version. `versions`: every version."""

    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    versions: set[int] = field(default_factory=set)

    def restore(
        self, model: str, features: tuple[str, ...], learning: Learning = DEFAULT, *, amounts: bool = False
    ) -> Restored:
        """Restore a learner of `model` from the newest usable snapshot; make a new one if there is none."""
        newest = max(self.versions, default=0)
        for version in sorted(self.snapshots, reverse=True):
            snapshot = self.snapshots[version]
            try:
                learner = Learner.restore(snapshot, features, learning, amounts=amounts)
                if learner.model != model:
                    raise Poison(f"it holds the state of model {learner.model}")
            except Poison as error:
                log.error("snapshot %s/%d cannot be restored: %s", snapshot.model, version, error)
                continue
            learner.version = newest
            return Restored(learner, dict(snapshot.applied), version == newest, snapshot.contest)
        learner = Learner(model, features, learning, amounts=amounts)
        learner.version = newest
        return Restored(learner, {}, newest == 0, b"")


def read_published(bootstrap: Kafka, topic: str) -> dict[str, ModelSnapshots]:
    """Read all snapshots in `topic`, by model. Raises `Retryable` if the topic cannot be read to its end."""
    found: dict[str, ModelSnapshots] = {}
    for record in read_to_end(bootstrap, topic, group="streamwise-published"):
        _take(found, record.key or b"", record.value)
    return found


def restore_family(
    published: Mapping[str, ModelSnapshots], spec: ModelSpec, features: tuple[str, ...]
) -> tuple[Champion, dict[str, Restored]]:
    """Restore a model's champion and challengers from their newest snapshots; return also what each resumes from.

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
        log.warning("topic of the models: expected a key of the form model/version, got %r", key)
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
