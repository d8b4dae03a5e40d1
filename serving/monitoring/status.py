"""What a role tells of itself once a second: the shape of `/status`.

The metrics are set from it, the live page adds it up over the roles. Every key may be missing: a
role gives what it has. Counters count from the start of the process.
"""

from __future__ import annotations

from typing import Any, TypedDict


class ModelStatus(TypedDict, total=False):
    """A model as the worker (version) or the learner (all of it) knows it; figures are prequential."""

    version: int
    auc: float | None
    log_loss: float | None
    examples: int
    waiting: int  # known, and not due yet
    drifts: int  # changes of the world that were found
    ignored: int  # values of features that were no number or absurd


class RoleStatus(TypedDict, total=False):
    """One role, now."""

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
    missed: int  # records that the broker had dropped before they were read
    taken: int  # examples, all models: learned, or not due yet
    repeated: int  # examples or messages that came again
    analysed: int  # events that the analyst learned
    baskets: int  # of them those that recommendations are learned from
    shoppers: int  # customers whose lists are kept for recommendations
    items: int  # products that may be recommended
    series: int  # of all forecasts
    departures: int  # from forecasts
    recommended: int  # recommendations sent
    unreadable: dict[str, int]  # by reason: events left out, as the worker leaves them out
    messages: dict[str, int]  # read, by language
    unread: int  # messages without a text
    corrections: int  # learned, of all there are
    corrections_refused: int  # that cannot be learned
    backups: int
    backup_failures: int
    backup_age_s: float
    backup_overdue_s: float  # 0 while the newest backup is younger than the schedule asks for
    period: dict[str, dict[str, Any]]  # prequential figures of each model over a period of the stream


class RoleReport(TypedDict):
    """A role as another one sees it: whether it answers, is ready, and what it told last."""

    address: str
    reachable: bool
    ready: bool
    reason: str
    status: RoleStatus
