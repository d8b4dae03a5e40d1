"""bench/idle.py: what counts as the installation, and how it is added up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.idle import Held, figures, held

CHILD = "import sys; print('up', flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}, 'ledger', 'reader'])"


def fake(proc: Path, pid: int, parent: int, arguments: str, pss_kb: int, ticks: tuple[int, int]) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    rest = " ".join(["0"] * 9)
    (folder / "stat").write_text(f"{pid} (a) b) S {parent} {rest} {ticks[0]} {ticks[1]} 0", encoding="ascii")
    (folder / "cmdline").write_text("\0".join(arguments.split()) + "\0", encoding="ascii")
    (folder / "smaps_rollup").write_text(
        f"55-7f ---p 0 00:00 0 [rollup]\nRss: 1 kB\nPss:  {pss_kb} kB\nPss_Anon: 7 kB\n"
    )


def test_all_that_descends_from_the_parent_counts_and_nothing_else(tmp_path: Path) -> None:
    fake(tmp_path, 10, 1, "python -m cli up", 100, (150, 50))
    fake(tmp_path, 11, 10, "python cli.py worker --tied", 200, (1, 2))
    fake(tmp_path, 12, 11, "python -c pass", 300, (0, 0))
    fake(tmp_path, 13, 1, "java kafka.Kafka", 999, (9, 9))
    (tmp_path / "meminfo").touch()
    found = held(10, tmp_path)
    assert found == {
        10: Held("up", 100 << 10, 2.0),
        11: Held("worker", 200 << 10, 0.03),
        12: Held("", 300 << 10, 0.0),
    }


def test_a_real_tree_is_read() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        found = held(process.pid)
        process.stdin.close()
    assert next(iter(found)) == process.pid
    assert [one.name for one in found.values()][1:] == ["ledger + reader"]
    assert all(one.pss_bytes > 1 << 20 for one in found.values())


def test_what_was_used_between_the_two_is_a_share_of_a_core() -> None:
    before = {1: Held("up", 10, 1.0), 2: Held("worker", 20, 5.0)}
    after = {1: Held("up", 11, 1.1), 2: Held("worker", 22, 5.5)}
    assert figures(before, after, 10.0) == {
        "pss_bytes": 33,
        "cpu_percent": 6.0,
        "processes": {
            "up": {"pss_bytes": 11, "cpu_percent": 1.0},
            "worker": {"pss_bytes": 22, "cpu_percent": 5.0},
        },
    }


def test_a_process_that_came_or_went_makes_it_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="came or went"):
        figures({1: Held("up", 10, 1.0)}, {1: Held("up", 10, 1.0), 2: Held("x", 1, 0.0)}, 1.0)
