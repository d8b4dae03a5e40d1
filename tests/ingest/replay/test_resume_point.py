"""Promise: a replay that is killed at any moment goes on, and no event is missing or in the log twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ingest.replay import resume_point as resume
from ingest.replay.run import replay
from streams.errors import Fatal

ROOT = Path(__file__).parents[3]

KILLED = """
import sys
sys.path.insert(0, ".")
from tests.ingest.conftest import Numbered
from ingest.replay.run import replay
replay(Numbered(200_000, step_ms=1000), sys.argv[1], state_dir=sys.argv[2], speed=3_000,
       on_progress=lambda progress: print(progress.position, flush=True))
"""


def test_after_kill_9_nothing_is_missing_or_twice(broker: Any, numbered: Any, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", KILLED, broker.bootstrap, str(tmp_path)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline() or 0) < 4500:  # past the first checkpoint, between two of them
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.3)
    kept = json.loads(next(tmp_path.glob("*.json")).read_text())["position"]
    appended = len(broker.numbers())
    assert 0 < kept < appended < 200_000
    summary = replay(numbered(appended + 2000, step_ms=1000), broker.bootstrap, state_dir=tmp_path)
    assert (summary.start, summary.complete) == (kept, True)
    assert broker.numbers() == list(range(appended + 2000))


def test_a_second_kill_does_not_forget_what_the_first_run_appended(
    broker: Any, numbered: Any, tmp_path: Path
) -> None:
    """Events 0-99 are appended and no point says so; two runs of 30 come before the last one."""
    replay(numbered(1), broker.bootstrap, state_dir=tmp_path, limit=0)
    replay(numbered(100), broker.bootstrap)
    for _ in range(2):
        replay(numbered(200), broker.bootstrap, state_dir=tmp_path, limit=30)
    assert replay(numbered(200), broker.bootstrap, state_dir=tmp_path).complete
    assert broker.numbers() == list(range(200))


def test_others_who_write_to_the_topics_do_no_harm(broker: Any, numbered: Any, tmp_path: Path) -> None:
    replay(numbered(10), broker.bootstrap, state_dir=tmp_path)
    other = broker.owner
    for _ in range(5):
        other.produce("sales.events", b"from elsewhere", b"customer-1")
    other.flush(10)
    assert replay(numbered(30), broker.bootstrap, state_dir=tmp_path).events == 20
    ours = [int(v) for *_, v in broker.values("sales.events", "web.events") if v != b"from elsewhere"]
    assert sorted(ours) == list(range(30))


def test_the_read_back_ends_for_good_after_enough_misses(
    broker: Any, numbered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "QUEUE_EVENTS", 50)
    replay(numbered(10), broker.bootstrap, state_dir=tmp_path)
    path = next(tmp_path.glob("*.json"))
    before = json.loads(path.read_text())["ends"]
    broker.owner.produce("sales.events", b"from elsewhere", b"customer-1")
    broker.owner.flush(10)
    replay(numbered(30), broker.bootstrap, state_dir=tmp_path)
    assert json.loads(path.read_text())["ends"] == before  # a next run reads back as far
    replay(numbered(100), broker.bootstrap, state_dir=tmp_path)
    assert json.loads(path.read_text())["ends"] != before


def test_a_changed_source_is_refused(broker: Any, numbered: Any, tmp_path: Path) -> None:
    replay(numbered(10), broker.bootstrap, state_dir=tmp_path)
    with pytest.raises(Fatal, match=r"numbered or its mapping changed since; start over with --no-resume"):
        replay(numbered(10, fingerprint="f2"), broker.bootstrap, state_dir=tmp_path)
    assert replay(numbered(10, fingerprint="f2"), broker.bootstrap, state_dir=tmp_path, resume=False).complete


def test_topics_made_anew_are_noticed(broker: Any, numbered: Any, tmp_path: Path) -> None:
    replay(numbered(10), broker.bootstrap, state_dir=tmp_path)
    path = next(tmp_path.glob("*.json"))
    point = json.loads(path.read_text())
    point["ends"]["sales.events"]["1"] += 1000
    path.write_text(json.dumps(point))
    with pytest.raises(
        Fatal, match=r"sales\.events\[1\] is shorter than it was; .* start over with --no-resume"
    ):
        replay(numbered(10), broker.bootstrap, state_dir=tmp_path)
    assert replay(numbered(10), broker.bootstrap, state_dir=tmp_path, resume=False).events == 10


def test_a_spoilt_point_is_named(broker: Any, numbered: Any, tmp_path: Path) -> None:
    replay(numbered(10), broker.bootstrap, state_dir=tmp_path)
    path = next(tmp_path.glob("*.json"))
    path.write_text("{")
    with pytest.raises(Fatal, match=rf"{path.name}: not a resume point .*; start over with --no-resume"):
        replay(numbered(10), broker.bootstrap, state_dir=tmp_path)


def test_a_state_directory_that_is_none_is_named(broker: Any, numbered: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fatal, match=r"the resume point cannot be read: Not a directory$"):
        replay(numbered(10), broker.bootstrap, state_dir=tmp_path / "file")
