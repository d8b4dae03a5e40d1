"""Explains a decision's score, when the page shows it, from its receipt and the snapshot that was in force."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.registry import SnapshotFeed
from customers.row import Described
from models.scoring import Explainer, Snapshot
from pipeline.config import Config
from schemas.topics import MODELS
from streams.errors import Retryable
from streams.kafka import Kafka

VERSIONS = 100  # kept of each model; the decisions shown name recent ones


class Reasons:
    """Gives reasons for the first score in the condition of a decision's policy; a thread reads the snapshots."""

    def __init__(self, bootstrap: Kafka, config: Config, layouts: Callable[[int], Described | None]) -> None:
        self._layouts, self._explainer = layouts, Explainer(config.models)
        self._asked = {policy.name: _scored(policy) for policy in config.policies}
        self._kept: dict[str, dict[int, Snapshot]] = {}
        self._lock = threading.Lock()
        self._feed = SnapshotFeed(bootstrap, MODELS, config.models.names, self.take)

    def start(self) -> Reasons:
        """Begin to read."""
        self._feed.start()
        return self

    def stop(self) -> None:
        """Stop reading."""
        self._feed.stop()

    def take(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and drop the model's oldest beyond `VERSIONS`."""
        with self._lock:
            kept = self._kept.setdefault(snapshot.model, {})
            kept[snapshot.version] = snapshot
            if len(kept) > VERSIONS:
                del kept[min(kept)]

    def of(self, decision: Mapping[str, Any]) -> list[str]:
        """Return the reasons in words, the strongest first.

        There are none if the policy uses no score, or if the layout or the snapshot is unknown.
        """
        receipt, asked = decision["receipt"], self._asked.get(decision["policy"])
        try:
            layout = self._layouts(receipt["layout"])
        except Retryable:
            layout = None
        if asked is None or layout is None or asked not in layout.models:
            return []
        place = list(layout.models).index(asked)
        with self._lock:
            snapshot = self._kept.get(asked, {}).get(_at(receipt["snapshots"], place))
        if snapshot is None:
            return []
        views = dict(zip(layout.views, receipt["values"], strict=False))
        return [str(reason) for reason in self._explainer.reasons(snapshot, views, decision["time"])]


def _scored(policy: Any) -> str | None:
    return next((each.name for each in policy.when.inputs if each.type == "score"), None)


def _at(numbers: Sequence[int], place: int) -> int:
    return numbers[place] if place < len(numbers) else 0
