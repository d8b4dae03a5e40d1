"""What is backed up and restored: the topics, the groups that read them, the ledger and the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Installation:
    """`client`: how a Kafka client reaches the cluster, in librdkafka's settings. `consumers`: which group takes
    each output topic; what it has not taken yet is part of a backup. `decisions`: the output topics whose
    records name the source event that caused them. A source that a group takes as an output, too, is backed up from
    where the first of both stands."""

    client: Mapping[str, Any]
    partitions: int
    changelog: str
    models: str
    sources: Sequence[str]
    consumers: Mapping[str, str]
    decisions: frozenset[str]
    worker: str
    learner: str
    ledger: str
    analyst: str
    analyst_changelog: str
    ledger_url: str
    config: Path

    @property
    def groups(self) -> dict[str, list[str]]:
        """The topics that each group commits offsets of."""
        found = {self.worker: list(self.sources)}
        for topic, group in self.consumers.items():
            found.setdefault(group, []).append(topic)
        return found
