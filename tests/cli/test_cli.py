"""The command line: help with an example, exit status 0, 1 or 2, one line for what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

import cli
from config.settings import ROOT

ALL = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
COMMANDS = sorted(name for name, command in ALL.items() if not command.hidden)  # of which --help tells
NO_BROKER = "no Kafka broker answers at 127.0.0.1:1; start one with `make kafka`, or set STREAMWISE_KAFKA"


ROLES = {"worker", "learner", "ledger", "analyst", "server", "reader"}


class Done:
    """How a command ended, and what it wrote."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, in an empty folder, without a broker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMWISE_KAFKA", "127.0.0.1:1")

    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        code = ended.value.code
        captured = capsys.readouterr()
        return Done(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the shipped config, to be broken."""
    folder = tmp_path / "config"
    folder.mkdir()
    for path in (ROOT / "config").glob("*.yaml"):
        shutil.copy(path, folder)
    return folder


def test_all_commands_of_the_design_are_there() -> None:
    wanted = {
        *ROLES,
        "demo",
        "up",
        "warm",
        "topics",
        "doctor",
        "replay",
        "evaluate",
        "bench",
        "dead-letters",
        "corrections",
        "changes",
        "models",
        "backup",
        "restore",
    }
    assert wanted == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command: str, run: Run) -> None:
    done = run(command, "--help")
    assert done.status == 0
    assert f"streamwise {command}" in done.out.split("Example:")[1]


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["demo", "--nonsense"], ["demo", "--limit", "0"], ["replay"], ["bench"]]
)
def test_wrong_use_is_status_2_without_a_traceback(arguments: list[str], run: Run) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [["topics"], ["topics", "--json"], ["replay", "complete-journey"]])
def test_a_tool_without_a_broker_says_where_it_looked(arguments: list[str], run: Run) -> None:
    done = run(*arguments)
    assert (done.status, done.out, done.err) == (1, "", f"streamwise: {NO_BROKER}\n")


def test_a_role_waits_for_a_broker_within_bounds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import agents.runtime.preflight

    monkeypatch.setattr(
        agents.runtime.preflight.prepare, "__kwdefaults__", {"patience_s": 0.1, "create": True}
    )
    done = run("ledger")
    waiting = "streamwise: no broker at 127.0.0.1:1 yet; waiting up to 0 s\n"
    assert (done.status, done.err) == (1, f"{waiting}streamwise: {NO_BROKER}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["evaluate", "nowhere.csv"],
            "nowhere.csv: neither a file nor a built-in source; built in: complete-journey, cdnow",
        ),
        (
            ["replay", "nowhere.csv"],
            "nowhere.csv: neither a file nor a built-in source; built in: complete-journey, cdnow",
        ),
        (
            ["replay", "complete-journey", "--speed", "fast"],
            "--speed: expected stream time a second such as 1d/s, 12h/s or 30m/s, got 'fast'",
        ),
        (
            ["replay", "complete-journey", "--until", "soon"],
            "--until: expected a date such as 2017-07-01, got 'soon'",
        ),
        (
            ["bench", "nothing"],
            "bench: expected one of engine, product, latency, scale, workers, failover, soak, idle, faults, models, "
            "got 'nothing'",
        ),
    ],
)
def test_what_was_asked_wrongly_is_one_line_and_status_2(arguments: list[str], line: str, run: Run) -> None:
    done = run(*arguments)
    assert (done.status, done.out, done.err) == (2, "", f"streamwise: {line}\n")


@pytest.mark.parametrize("command", ["worker", "learner", "server", "topics", "warm", "up", "demo"])
def test_a_bad_policy_is_one_line_with_file_and_line_and_nothing_is_asked_of_a_broker(
    command: str, run: Run, config: Path
) -> None:
    path = config / "policies.yaml"
    text = path.read_text(encoding="utf-8")
    number = next(n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith("kind: alert"))
    path.write_text(text.replace("kind: alert", "kind: alarm", 1), encoding="utf-8")
    done = run(command, "--config", str(config))
    line = f"streamwise: {path}:{number}: kind: unknown kind 'alarm'; expected alert or offer\n"
    assert (done.status, done.err) == (2, line)


def test_a_bad_setting_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWISE_PARTITIONS", "many")
    done = run("doctor")
    assert done.status == 2
    assert done.err.startswith("streamwise: settings: STREAMWISE_PARTITIONS: ")
    assert done.err.count("\n") == 1


def test_the_doctor_says_what_to_do(run: Run) -> None:
    done = run("doctor", "--json")
    result = json.loads(done.out.splitlines()[-1])
    assert (done.status, result["ok"]) == (1, False)
    failed = {check["name"]: check["detail"] for check in result["checks"] if check["state"] == "failed"}
    assert failed == {"broker": NO_BROKER}
    names = [check["name"] for check in result["checks"]]
    assert {"python", "packages", "config", "kernels", "disk", "broker", "views", "ledger"} == set(names)


def test_the_doctor_is_content_with_a_broker_and_its_topics(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.topology.topics import topics
    from streams.kafka.embedded_broker import PARTITIONS, EmbeddedBroker

    with EmbeddedBroker() as broker:
        monkeypatch.setenv("STREAMWISE_KAFKA", broker.bootstrap)
        missing = run("doctor")
        assert missing.status == 1
        assert "run `streamwise topics`" in missing.out
        broker.make_topics(topics(["web.events", "social.events", "sales.events"]))
        monkeypatch.setenv("STREAMWISE_PARTITIONS", str(PARTITIONS))
        done = run("doctor")
        assert (done.status, "failed" in done.out) == (0, False)
        listed = run("topics", "--json")
        assert set(json.loads(listed.out)["topics"].values()) == {"as it is"}


def test_a_real_process_replays_a_file_with_a_mapping_and_resumes(tmp_path: Path) -> None:
    from agents.topology.topics import topics
    from streams.kafka.embedded_broker import EmbeddedBroker

    (tmp_path / "orders.csv").write_text(
        "id,who,at,total\n1,a,2017-01-01,5\n2,b,2017-01-02,6\n", encoding="utf-8"
    )
    mapping = "topic: sales.events\ncustomer: who\ntime: at\nkind: order\nmessage_id: id\n"
    fields = "fields:\n  order_id: id\n  amount: total\n"
    (tmp_path / "orders.yaml").write_text(mapping + fields, encoding="utf-8")
    with EmbeddedBroker() as broker:
        broker.make_topics(topics(["web.events", "social.events", "sales.events"]))
        command = [
            sys.executable,
            "-m",
            "cli",
            "replay",
            "orders.csv",
            "--mapping",
            "orders.yaml",
            "--json",
        ]
        counts = []
        for _ in range(2):
            done = subprocess.run(
                [*command, "--kafka", broker.bootstrap],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            counts.append(json.loads(done.stdout.splitlines()[-1])["events"])
    assert counts == [2, 0]
