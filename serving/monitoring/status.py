"""The shape of `/status`, a role's report on itself.

The metrics are made from it, and the live page adds it up over the roles. Any key may be missing: a
role reports what it has. Counters start at 0 with the process.
"""

from __future__ import annotations

from typing import Any, TypedDict


class ModelStatus(TypedDict, total=False):
    """A model as the worker (version only) or the learner (every key) knows it. Figures are prequential."""

    version: int
    auc: float | None
    log_loss: float | None
    examples: int
    waiting: int  # examples that wait for their label
    drifts: int  # concept drifts that were detected
    ignored: int  # feature values that were not a number or absurd


class RoleStatus(TypedDict, total=False):
    """The current status of one role."""

    role: str  # worker, learner, ledger, analyst, server, reader, backup
    events: int
    events_per_s: float
    lag: dict[str, int]  # records not processed yet, by topic
    dead_letters: dict[str, int]  # by reason
    duplicates: int
    late: int
    outputs: dict[str, int]  # by policy
    kinds: dict[str, str]  # alert or offer, by policy
    alerts: int
    offers: int
    examples: dict[str, int]  # training examples emitted, by model
    watermark_ms: int  # the lowest over the partitions
    commit_age_s: float
    partitions: int
    customers: int  # rows
    models: dict[str, ModelStatus]
    views_written: int
    view_failures: int
    views_age_s: float  # how long the oldest changed view has waited for its store
    ledger_inserted: int
    ledger_repeated: int
    missed: int  # records that the broker deleted before they were read
    taken: int  # examples of all models: learned, or waiting for their label
    repeated: int  # examples or messages that arrived again
    analysed: int  # events that the analyst learned from
    baskets: int  # those of them that recommendations are learned from
    shoppers: int  # customers with recommendations
    items: int  # products that may be recommended
    series: int  # in all forecasts
    departures: int  # from forecasts
    recommended: int  # recommendations sent
    unreadable: dict[str, int]  # events left out by the same rules as in the worker, by reason
    messages: dict[str, int]  # read, by language
    unread: int  # messages without a text
    corrections: int  # corrections that were learned
    corrections_refused: int  # corrections that cannot be learned
    backups: int
    backup_failures: int
    backup_age_s: float
    backup_overdue_s: float  # 0 while no backup is due
    period: dict[str, dict[str, Any]]  # prequential figures over a period of the stream, by model


class RoleReport(TypedDict):
    """A role as another role sees it: whether it answers, whether it is ready, and its last status."""

    address: str
    reachable: bool
    ready: bool
    reason: str
    status: RoleStatus
