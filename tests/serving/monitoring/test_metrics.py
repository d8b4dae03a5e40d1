"""Every figure of a status is a metric, and nothing else is."""

from __future__ import annotations

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.monitoring.metrics import MODEL_SERIES, SERIES, RoleMetrics
from serving.monitoring.status import ModelStatus, RoleStatus

STATUS: RoleStatus = {
    "events": 1200,
    "events_per_s": 600.5,
    "lag": {"sales.events": 7, "web.events": 0},
    "dead_letters": {'a "quoted"\nreason': 2},
    "duplicates": 3,
    "late": 4,
    "outputs": {"churn-risk": 5, "win-back": 6},
    "kinds": {"churn-risk": "alert"},
    "examples": {"purchase": 8},
    "watermark_ms": 1_489_000_000_500,
    "models": {"purchase": {"version": 9, "auc": 0.79, "examples": 80}, "churn": {"auc": None}},
    "views_written": 10,
    "view_failures": 11,
}


def samples(metrics: RoleMetrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name and label values, these in the order of the labels' names."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_status_that_was_set_last_is_shown() -> None:
    metrics = RoleMetrics("worker")
    metrics.set({"events": 1})
    metrics.set(STATUS)
    shown = samples(metrics)
    assert shown["streamwise_role", ("worker",)] == 1
    assert shown["streamwise_events_total", ()] == 1200
    assert shown["streamwise_lag", ("sales.events",)] == 7
    assert shown["streamwise_dead_letters_total", ('a "quoted"\nreason',)] == 2
    assert shown["streamwise_outputs_total", ("alert", "churn-risk")] == 5
    assert shown["streamwise_outputs_total", ("unknown", "win-back")] == 6
    assert shown["streamwise_watermark_seconds", ()] == 1_489_000_000.5
    assert shown["streamwise_snapshot_version", ("purchase",)] == 9
    assert shown["streamwise_auc", ("purchase",)] == 0.79
    assert shown["streamwise_examples_total", ("purchase",)] == 8
    assert shown["streamwise_examples_learned_total", ("purchase",)] == 80
    assert shown["streamwise_views_written_total", ()] == 10


def test_what_a_role_does_not_know_is_left_out() -> None:
    metrics = RoleMetrics("ledger")
    assert ("streamwise_events_total", ()) not in samples(metrics)
    metrics.set(STATUS)
    shown = samples(metrics)
    assert ("streamwise_auc", ("churn",)) not in shown
    assert ("streamwise_ledger_inserted_total", ()) not in shown


def test_histograms_are_observed_and_roles_have_their_own_registries() -> None:
    one, other = RoleMetrics("worker"), RoleMetrics("worker")
    one.batch_seconds.observe(0.002)
    one.commit_cycle_seconds.observe(0.2)
    assert samples(one)["streamwise_batch_seconds_count", ()] == 1
    assert samples(one)["streamwise_commit_cycle_seconds_bucket", ("0.3",)] == 1
    assert samples(other)["streamwise_batch_seconds_count", ()] == 0


def test_every_series_names_a_key_of_the_status() -> None:
    assert {series.key for series in SERIES} <= set(RoleStatus.__annotations__)
    assert {series.key for series in MODEL_SERIES} <= set(ModelStatus.__annotations__)


def test_a_status_that_is_followed_is_asked_for_at_each_scrape_and_at_no_other_time() -> None:
    asked: list[int] = []

    def status() -> RoleStatus:
        asked.append(1)
        return {"events": len(asked)}

    metrics = RoleMetrics("worker")
    metrics.follow(status)
    assert not asked
    assert samples(metrics)["streamwise_events_total", ()] == 1
    assert samples(metrics)["streamwise_events_total", ()] == 2
