"""What dashboards and alerts ask for, and every metric that is declared: a role that runs gives it a value."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import schemas
from config.settings import ROOT, Settings
from schemas.topics import EXAMPLES, MESSAGES
from serving.monitoring.metrics import MODEL_SERIES, SERIES
from tests.reference.streams import random_log

ROLES = (
    ("worker",),
    ("learner",),
    ("ledger",),
    ("analyst",),
    ("reader",),
    ("server",),
    ("backup", "--watch"),
)
PATIENCE_S = 60.0
METRIC = re.compile(r"\bstreamwise_[a-z_]+")


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Those of the other roles, and a folder for backups."""
    return settings.model_copy(update={"backup_dir": str(tmp_path / "backups")})


def asked() -> set[str]:
    """The metrics in every expression of the dashboards and the alerts."""
    dashboards = [
        json.loads(path.read_text()) for path in (ROOT / "config/grafana/dashboards").glob("*.json")
    ]
    targets = [target for board in dashboards for panel in board["panels"] for target in panel["targets"]]
    groups = yaml.safe_load((ROOT / "config/prometheus/alerts.yml").read_text())["groups"]
    queries = [*targets, *(rule for group in groups for rule in group["rules"])]
    return {name for query in queries for name in METRIC.findall(query["expr"])}


def declared() -> set[str]:
    """The metrics that are made of a status."""
    series = (*SERIES, *MODEL_SERIES)
    return {f"streamwise_{each.name}{'_total' * (each.kind == 'counter')}" for each in series}


def given(address: str) -> set[str]:
    """The metrics that a role has given a value; a histogram has one when it was observed."""
    families = text_string_to_metric_families(httpx.get(f"http://{address}/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    never = {s.name.removesuffix("_count") for s in samples if s.name.endswith("_count") and not s.value}
    return {s.name for s in samples if not s.name.startswith(tuple(f"{name}_" for name in never))}


def test_a_role_that_runs_gives_every_metric_a_value(
    broker: Any,
    start: Callable[..., Any],
    example: Callable[[int], dict[str, Any]],
    encode: Callable[[str, Sequence[dict[str, Any]]], list[bytes]],
) -> None:
    for (topic, number), records in random_log(1, 3000, bad=0.05).items():
        for record in records:
            broker.producer.produce(
                topic, key=record.key, value=record.value, partition=number, timestamp=record.timestamp
            )
    broker.send(EXAMPLES, encode("training_example", [example(number) for number in range(60)]))
    message = {
        "message_id": "m",
        "time": 1_700_000_000_000,
        "kind": "email",
        "text": "A broken parcel again!",
    }
    broker.send(MESSAGES, [schemas.encode("social_event", message)])
    running = [start(*role, wait=False) for role in ROLES]
    for role in running:
        role.wait_ready()
    wanted, until = asked() | declared(), time.monotonic() + PATIENCE_S
    while (missing := wanted.difference(*(given(role.address) for role in running))) and (
        time.monotonic() < until
    ):
        time.sleep(0.2)
    assert missing == set()
