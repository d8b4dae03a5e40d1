"""bench/harness/report.py: the page has what was measured here, and keeps what was measured elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.harness.report import HEAD, page

ABOUT = {"measured": "2026-11-28", "cores": 2, "machine": "x86_64"}


def ran(folder: Path, bench: str, figures: dict[str, Any]) -> None:
    (folder / f"{bench}.json").write_text(json.dumps({"about": ABOUT, "figures": figures}), encoding="utf-8")


def failover(folder: Path, gap_s: float) -> None:
    ran(folder, "failover", {"customers": 1000, "standby_gap_s": gap_s, "restore_s": 7.0})


def test_a_bench_that_ran_replaces_its_part_and_the_others_stay(tmp_path: Path) -> None:
    before = HEAD + "## Failover\n\n- old\n\n## Soak\n\n- 30 minutes\n"
    failover(tmp_path, 2.5)
    after = page(before, tmp_path)
    assert "- old" not in after
    assert "again 2.5 s after" in after
    assert after.endswith("## Soak\n\n- 30 minutes\n")
    assert page(after, tmp_path) == after


def test_a_bench_that_is_new_comes_last(tmp_path: Path) -> None:
    failover(tmp_path, 2.5)
    assert page("", tmp_path).startswith(HEAD + "## Failover\n")
    assert page(HEAD + "## Soak\n\n- 30 minutes\n", tmp_path).index("## Soak") < len(HEAD) + 1


def test_a_seed_that_was_not_carried_out_is_told(tmp_path: Path) -> None:
    figures = {
        "seeds": 2, "jobs": 1, "events": 1000, "faults": {"burst": 3}, "lost": 0, "twice": 0, "outputs_missing": 0,
        "outputs_twice": 0, "longest_gap_s": {"burst": 1.5}, "not_carried_out": {},
    }  # fmt: skip
    ran(tmp_path, "faults", figures)
    assert "not carried out" not in page("", tmp_path)
    ran(
        tmp_path,
        "faults",
        {**figures, "not_carried_out": {"7": "faults could not be carried out: no broker"}},
    )
    assert "- not carried out as drawn, and not counted: seed 7\n" in page("", tmp_path)


def test_the_page_of_this_project_is_one_that_it_wrote(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert page(text, tmp_path) == text
