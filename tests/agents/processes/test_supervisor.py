"""Roles as processes: one that fails says why, none outlives its parent."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agents.processes.supervisor import READER, RoleProcess, Supervisor, can_read, environment
from config.settings import ROOT, Settings, load_settings
from streams.errors import Fatal, Retryable
from streams.kafka.wait_for_broker import reach


def test_a_role_that_fails_is_explained_by_its_own_line(settings: Settings, tmp_path: Path) -> None:
    bad = {**environment(settings, True), "STREAMWISE_PARTITIONS": "0"}
    process = RoleProcess("worker", [], bad, tmp_path)
    with pytest.raises(
        Fatal, match="the worker ended with status 2: settings: STREAMWISE_PARTITIONS: Input should be"
    ):
        process.wait_ready()
    process.wait(5)


def test_a_role_ends_when_its_parent_closes_its_input(start: Any) -> None:
    process = start("server").process
    process.stdin.close()
    assert process.wait(15) == 0


def test_starting_stops_when_asked(settings: Settings) -> None:
    stop = threading.Event()
    stop.set()
    with Supervisor(settings, free_ports=True, names=["worker", READER, "server"]) as roles:
        assert not roles.start(stop)
        assert set(roles.running) == {"worker", "reader"}
        processes = [role.process for role in roles.running.values()]
    assert all(process.poll() is not None for process in processes)


def test_a_reader_is_started_where_it_has_lexicons_and_phrases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_read(load_settings())
    assert not can_read(load_settings(config=tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not can_read(load_settings())


def test_a_broker_that_is_away_is_named_with_what_starts_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        Retryable, match=r"no Kafka broker answers at 127\.0\.0\.1:1; start one with `make kafka`"
    ):
        reach("127.0.0.1:1", patience_s=0.6)
    assert capsys.readouterr().err.count("waiting up to") == 1


def test_children_get_absolute_paths(tmp_path: Path) -> None:
    found = environment(load_settings(state=Path("here"), config=ROOT / "config"), False)
    assert Path(found["STREAMWISE_STATE"]).is_absolute()
    assert found["STREAMWISE_LEDGER"].startswith("sqlite:////")
    assert found["STREAMWISE_SERVER_PORT"] == "9104"


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    script = "import cli, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numba", "numpy", "faust", "river", "polars", "confluent_kafka"} & set(done.stdout.split())
