"""The Prometheus metrics of a role, all named `streamwise_…`.

This module counts nothing. At each scrape it reads the role's status and makes the metrics from it, so
they cost nothing in the hot path or in an idle role. Only the worker's two histograms are observed, once
per fetch and once per commit cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from .status import RoleStatus

# From a lone event (tens of microseconds) to a batch of 100,000 with every model.
BATCH_BUCKETS_S = (0.00005, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# A cycle begins about every second; above 10 s the watchdog checks the worker.
CYCLE_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class MetricSpec(NamedTuple):
    """A metric made from one key of the status. With a label, the key holds a mapping from label to number."""

    key: str
    name: str
    kind: Literal["counter", "gauge"]
    help: str
    label: str | None = None
    scale: float = 1.0


SERIES = (
    MetricSpec("events", "events", "counter", "Events folded into rows"),
    MetricSpec("duplicates", "duplicates", "counter", "Events dropped because their message id was known"),
    MetricSpec("late", "late", "counter", "Events older than the clock of their row"),
    MetricSpec("dead_letters", "dead_letters", "counter", "Records that could not be processed", "reason"),
    MetricSpec("examples", "examples", "counter", "Training examples that matured", "model"),
    MetricSpec("views_written", "views_written", "counter", "Customer views written to their store"),
    MetricSpec("view_failures", "view_failures", "counter", "Failed attempts to reach the view store"),
    MetricSpec("ledger_inserted", "ledger_inserted", "counter", "Records inserted into the SQL ledger"),
    MetricSpec("ledger_repeated", "ledger_repeated", "counter", "Records that the SQL ledger already had"),
    MetricSpec("missed", "missed", "counter", "Records that the broker deleted before they were read"),
    MetricSpec("analysed", "analysed", "counter", "Events that the analyst learned from"),
    MetricSpec("baskets", "baskets", "counter", "Baskets that recommendations were learned from"),
    MetricSpec("departures", "departures", "counter", "Departures from forecasts that were found"),
    MetricSpec("recommended", "recommended", "counter", "Recommendations sent"),
    MetricSpec("unreadable", "unreadable", "counter", "Events that the analyst left out", "reason"),
    MetricSpec("messages", "messages_read", "counter", "Messages that were read", "language"),
    MetricSpec("unread", "messages_without_text", "counter", "Messages without a text, passed on unchanged"),
    MetricSpec("corrections", "corrections_learned", "gauge", "Corrections that the reader has learned"),
    MetricSpec("corrections_refused", "corrections_refused", "gauge", "Corrections that cannot be learned"),
    MetricSpec("repeated", "repeated", "counter", "Examples or messages that arrived again"),
    MetricSpec("backups", "backups", "counter", "Scheduled backups that were made"),
    MetricSpec("backup_failures", "backup_failures", "counter", "Failed attempts at a scheduled backup"),
    MetricSpec("events_per_s", "events_per_second", "gauge", "Events folded per second, recently"),
    MetricSpec("lag", "lag", "gauge", "Records of a topic not processed yet", "topic"),
    MetricSpec("watermark_ms", "watermark_seconds", "gauge", "Lowest watermark, since the epoch", scale=1e-3),
    MetricSpec("commit_age_s", "commit_age_seconds", "gauge", "Time since the last commit cycle ended"),
    MetricSpec("partitions", "partitions", "gauge", "Partitions assigned to this role"),
    MetricSpec("customers", "rows", "gauge", "Customer rows held"),
    MetricSpec("shoppers", "shoppers", "gauge", "Customers with recommendations"),
    MetricSpec("items", "items", "gauge", "Products that may be recommended"),
    MetricSpec("series", "forecast_series", "gauge", "Series that are forecast"),
    MetricSpec(
        "views_age_s", "views_age_seconds", "gauge", "Upper bound of how long a changed view has waited"
    ),
    MetricSpec("backup_age_s", "backup_age_seconds", "gauge", "Age of the newest scheduled backup"),
    MetricSpec(
        "backup_overdue_s", "backup_overdue_seconds", "gauge", "Time since a scheduled backup was due"
    ),
)
MODEL_SERIES = (
    MetricSpec("version", "snapshot_version", "gauge", "Version of the snapshot in use", "model"),
    MetricSpec("auc", "auc", "gauge", "Prequential area under the ROC curve", "model"),
    MetricSpec("log_loss", "log_loss", "gauge", "Prequential log-loss", "model"),
    MetricSpec("examples", "examples_learned", "counter", "Training examples learned", "model"),
    MetricSpec(
        "waiting", "examples_waiting", "gauge", "Training examples that wait for their label", "model"
    ),
    MetricSpec("drifts", "drifts", "counter", "Concept drifts that a model detected", "model"),
    MetricSpec(
        "ignored",
        "values_ignored",
        "counter",
        "Feature values that were not a number or absurd",
        "model",
    ),
)


class RoleMetrics:
    """The metrics of one role, in their own registry."""

    def __init__(self, role: str) -> None:
        self.registry = CollectorRegistry()
        worker = self.registry if role == "worker" else None  # no other role has a pass and a commit cycle
        self.batch_seconds = Histogram(
            "streamwise_batch_seconds",
            "Time to process one fetch, from decode to decide",
            registry=worker,
            buckets=BATCH_BUCKETS_S,
        )
        self.commit_cycle_seconds = Histogram(
            "streamwise_commit_cycle_seconds",
            "Time for one commit cycle",
            registry=worker,
            buckets=CYCLE_BUCKETS_S,
        )
        self._status = _StatusCollector(role)
        self.registry.register(self._status)
        ProcessCollector(registry=self.registry)

    def set(self, status: RoleStatus) -> None:
        """Report `status` from now on; the caller must not change it."""
        self.follow(lambda: status)

    def follow(self, read: Callable[[], RoleStatus]) -> None:
        """Report what `read` returns at each scrape; it is called in the thread of the scrape."""
        self._status.read = read


class _StatusCollector(Collector):
    """Makes the metrics from the current status."""

    def __init__(self, role: str) -> None:
        self._role = role
        self.read: Callable[[], RoleStatus] = RoleStatus

    def collect(self) -> Iterator[Metric]:
        status: dict[str, Any] = dict(self.read())
        role = GaugeMetricFamily("streamwise_role", "1 for the role of this process", labels=["role"])
        role.add_metric([self._role], 1)
        yield role
        for series in SERIES:
            if series.key in status:
                yield _family(series, status[series.key])
        if "outputs" in status:
            yield _outputs(status["outputs"], status.get("kinds", {}))
        models = status.get("models", {})
        for series in MODEL_SERIES:
            values = {name: model.get(series.key) for name, model in models.items()}
            known = {name: value for name, value in values.items() if value is not None}
            if known:
                yield _family(series, known)


def _family(series: MetricSpec, value: Any) -> Metric:
    kind = CounterMetricFamily if series.kind == "counter" else GaugeMetricFamily
    labels = [series.label] if series.label else []
    family = kind(f"streamwise_{series.name}", series.help, labels=labels)
    for label, number in value.items() if series.label else [("", value)]:
        family.add_metric([label] if series.label else [], number * series.scale)
    return family


def _outputs(outputs: dict[str, int], kinds: dict[str, str]) -> Metric:
    help = "Alerts and offers, by policy"
    family = CounterMetricFamily("streamwise_outputs", help, labels=["policy", "kind"])
    for policy, number in outputs.items():
        family.add_metric([policy, kinds.get(policy, "unknown")], number)
    return family
