"""Promises of docker-compose.yml and config/: pinned, health-checked, naming what exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings
from serving.ledger.ledger import Ledger
from serving.monitoring import metrics

ROOT = Path(__file__).parents[2]
PORTS = {"worker": 9101, "learner": 9102, "ledger": 9103, "analyst": 9106, "server": 9104, "reader": 9107}
METRIC = re.compile(r"\bstreamwise_[a-z_]+")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


COMPOSE = read("docker-compose.yml")
SERVICES: dict[str, Any] = COMPOSE["services"]


def known_metrics() -> set[str]:
    """The names Prometheus sees: a counter ends in _total, a histogram has buckets."""
    names = {"streamwise_role", "streamwise_outputs_total"}
    for series in (*metrics.SERIES, *metrics.MODEL_SERIES):
        names.add(f"streamwise_{series.name}" + ("_total" if series.kind == "counter" else ""))
    return names | {f"streamwise_{name}_seconds_bucket" for name in ("batch", "commit_cycle")}


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"topics"}))
def test_every_lasting_service_has_a_health_check_and_starts_again(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_others_by_their_health_and_listens_on_this_machine_only(name: str) -> None:
    for other, waited in SERVICES[name].get("depends_on", {}).items():
        ends = other == "topics"
        assert waited["condition"] == ("service_completed_successfully" if ends else "service_healthy")
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize(("role", "port"), PORTS.items())
def test_a_role_is_scraped_and_checked_on_its_port(role: str, port: int) -> None:
    assert SERVICES[role]["command"] == [role]
    assert f"127.0.0.1:{port}/readyz" in SERVICES[role]["healthcheck"]["test"][1]
    scraped = {
        job["job_name"]: job["static_configs"]
        for job in read("config/prometheus/prometheus.yml")["scrape_configs"]
    }
    assert scraped[role] == [{"targets": [f"{role}:{port}"]}]


def environment(name: str) -> dict[str, str]:
    return {
        key: value for key, value in SERVICES[name]["environment"].items() if key.startswith("STREAMWISE_")
    }


@pytest.mark.parametrize("name", ["topics", *PORTS])
def test_the_environment_of_a_role_names_settings_that_exist(name: str) -> None:
    given = {key.removeprefix("STREAMWISE_").lower(): value for key, value in environment(name).items()}
    assert {"kafka", "redis", "ledger", "host", "roles"} == set(given)
    settings = Settings(_env_file=None, **given)  # type: ignore[arg-type]
    assert settings.role_addresses == {role: f"{role}:{port}" for role, port in PORTS.items()}
    for address in (settings.kafka, settings.redis.partition("//")[2], settings.ledger.rpartition("@")[2]):
        assert address.partition(":")[0] in SERVICES
    Ledger(re.sub(r"\$\{\w+:-(\w+)\}", r"\1", settings.ledger)).close()


def test_the_image_names_settings_that_exist() -> None:
    named = set(re.findall(r"STREAMWISE_(\w+)=", (ROOT / "Dockerfile").read_text(encoding="utf-8")))
    assert {"STATE"} <= named <= {field.upper() for field in Settings.model_fields}


def needed(program: str) -> str:
    """Its path; CI has all of them."""
    path = shutil.which(program)
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(f"{program} missing")
    assert path is not None, f"{program} missing, and CI=true needs it"
    return path


def test_compose_has_the_form_that_docker_expects() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, "docker-compose.yml"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("promtool check config", "prometheus/prometheus.yml"),
        ("promtool check rules", "prometheus/alerts.yml"),
        ("amtool check-config", "alertmanager/alertmanager.yml"),
    ],
)
def test_prometheus_and_alertmanager_take_their_files(command: str, file: str) -> None:
    program, *rest = command.split()
    done = subprocess.run([needed(program), *rest, ROOT / "config" / file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_reach_alertmanager() -> None:
    managers = read("config/prometheus/prometheus.yml")["alerting"]["alertmanagers"]
    assert managers == [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]
    assert SERVICES["alertmanager"]["ports"] == ["127.0.0.1:9093:9093"]


def test_mounted_files_exist() -> None:
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    local = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    assert local
    assert [name for name in local if not (ROOT / name).exists()] == []


def test_the_image_runs_as_a_user_without_rights_and_warms_the_kernels() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert lines.index("USER streamwise") < lines.index("RUN streamwise warm")


def test_alerts_name_metrics_that_exist() -> None:
    rules = [rule for group in read("config/prometheus/alerts.yml")["groups"] for rule in group["rules"]]
    used = {name for rule in rules for name in METRIC.findall(rule["expr"])}
    assert used
    assert used - known_metrics() == set()
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)


def test_the_dashboard_shows_metrics_that_exist() -> None:
    text = (ROOT / "config/grafana/dashboards/streamwise.json").read_text(encoding="utf-8")
    panels = json.loads(text)["panels"]
    used = {
        name for panel in panels for target in panel["targets"] for name in METRIC.findall(target["expr"])
    }
    assert used - known_metrics() == set()
    main = (
        "events_total lag dead_letters_total outputs_total commit_age_seconds commit_cycle_seconds_bucket auc"
    )
    assert {f"streamwise_{name}" for name in main.split()} <= used
    assert len({panel["id"] for panel in panels}) == len(panels)
