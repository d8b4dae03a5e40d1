"""What a backup covers: the topics, the consumer groups that read them, the ledger and the config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Installation:
    """The parts of an installation that a backup reads and a restore writes.

    `client`: librdkafka settings that reach the cluster. `consumers`: the group that consumes each output topic;
    a backup holds the records that this group has not consumed yet. `decisions`: the output topics whose records
    name the source event that caused them. If a source topic is also in `consumers`, the backup holds it from the
    lower of the two groups' offsets.
    """

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
        """The topics for which each group commits offsets."""
        found = {self.worker: list(self.sources)}
        for topic, group in self.consumers.items():
            found.setdefault(group, []).append(topic)
        return found
