"""`streamwise demo`, as a real process: nothing lost, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from console.board import Board
from ingest.open_source import source
from ingest.replay.run import Progress
from operations.demo.accounting import Counts, second_half_ms
from operations.demo.screen import picture

EVENTS = 9000
TIMEOUT_S = 200  # kernels may have to be compiled


def a_demo(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def test_a_short_demo_loses_nothing_and_reports_it(tmp_path: Path) -> None:
    demo = a_demo("--json", "--limit", str(EVENTS), folder=tmp_path)
    out, err = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 0, err
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert summary["events"] == EVENTS
    assert (summary["lost"], summary["dead_letters"], summary["missed"]) == (0, 0, 0)
    assert summary["offers"] > 0
    assert summary["emitted"] + summary["outcomes"] == summary["kept"]
    assert summary["models"]["purchase"]["examples"] > 500
    assert 0.5 < summary["models"]["purchase"]["auc"] < 1
    assert list(tmp_path.iterdir()) == []  # its state folder is gone


def test_an_interrupt_ends_all_roles_and_says_how_far_it_came(tmp_path: Path) -> None:
    demo = a_demo("--no-browser", folder=tmp_path)
    assert demo.stdout is not None
    seen: list[str] = []
    for line in demo.stdout:
        seen.append(line)
        if line.startswith("live page"):
            break
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(demo.pid)], capture_output=True, text=True
    ).stdout.split()
    demo.send_signal(signal.SIGINT)
    out, err = demo.communicate(timeout=60)
    assert (demo.returncode, err) == (0, "")
    assert "stopped early" in out
    assert len(children) >= 4
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


@pytest.mark.parametrize("limit", [None, 1000])
def test_the_second_half_is_half_of_the_streams_time(limit: int | None) -> None:
    middle_ms, end_ms = second_half_ms(source("complete-journey"), limit)
    assert (limit is None) == (end_ms > 1_514_700_000_000)
    assert 1_483_246_000_000 < middle_ms < end_ms


def test_counts_take_dead_letters_where_they_belong() -> None:
    def report(**status: Any) -> Any:
        return {"address": "", "reachable": True, "ready": True, "reason": "", "status": status}

    counts = Counts.of(
        {
            "worker": report(events=10, dead_letters={"a": 2}, alerts=3, offers=4, examples={"purchase": 5}),
            "learner": report(taken=4, dead_letters={"b": 1}, missed=1, period={"purchase": {"auc": 0.7}}),
            "ledger": report(ledger_inserted=5, ledger_repeated=1, dead_letters={"c": 1}),
        }
    )
    assert (counts.folded, counts.learned, counts.kept, counts.dead_letters) == (12, 5, 7, 4)
    assert (counts.decisions, counts.examples, counts.missed) == (7, 5, 1)


def test_the_screen_shows_decisions_models_and_the_page() -> None:
    board = Board()
    decision = {
        "id": "1",
        "kind": "offer",
        "time": 1_500_000_000_000,
        "customer": "965",
        "policy": "win-back",
    }
    board.add_decision({**decision, "message": "[b]We miss you[/b]"})
    board.update(
        {"learner": {"address": "", "reachable": True, "ready": True, "reason": "",
                     "status": {"role": "learner", "models": {"churn": {"auc": 0.91, "examples": 7}}}}}
    )  # fmt: skip
    progress = Progress(5000, 10_000, 5000, 0, 4321.0, 1_500_000_000_000, 3)
    counts = Counts(offers=1, models={"churn": {"auc": 0.9, "examples": 3}})
    demo: Any = SimpleNamespace(
        board=board,
        progress=progress,
        counts=counts,
        seconds=2.0,
        waiting=lambda: {"worker": 12, "learner": -1},
    )
    written = io.StringIO()
    Console(file=written, width=140).print(picture(demo, "http://127.0.0.1:9104"))
    shown = written.getvalue()
    wanted = (
        "http://127.0.0.1:9104",
        "4,321 events/s",
        "lag 12",
        "965",
        "win-back",
        "[b]We miss you[/b]",
        "0.910",
        "0.900",
    )
    for text in wanted:
        assert text in shown
