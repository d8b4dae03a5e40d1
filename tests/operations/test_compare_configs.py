"""`streamwise changes` tells what rows lose on the way, and moving rows loses just that."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from customers.row.layout import Migration
from operations.compare_configs import compare, format_report
from pipeline.config import Config, load_config
from tests.doubles import shipped_config
from tests.doubles.configs import changed_config
from tests.doubles.migrated import migrated
from tests.doubles.rig import CONFIG


@pytest.fixture
def other(tmp_path: Path) -> Config:
    return load_config(changed_config(tmp_path / "other"))


def test_what_is_lost_is_told_by_name(other: Config) -> None:
    told = compare(shipped_config(), other)
    every = [model.name for model in shipped_config().models.models]
    assert told["up"] == {"columns": ["searches_1d", "total_quantity"], "policies": [], "examples": every}
    down = ["searches_1w", "reviews", "quiet"]
    assert told["down"] == {"columns": down, "policies": ["any-review"], "examples": every}
    assert (told["features_new"], told["features_gone"]) == (["reviews", "searches_1w"], ["searches_1d"])
    assert told["order"].startswith("two rollouts")
    assert format_report(told)[1:3] == [
        f"rows that move up: lose columns searches_1d, total_quantity; examples {', '.join(every)}",
        f"rows that move back: lose columns {', '.join(down)}; policies any-review; examples {', '.join(every)}",
    ]


def test_what_is_not_told_moves(other: Config) -> None:
    old, new = shipped_config().layout, other.layout
    row = np.arange(1.0, 1.0 + old.words).reshape(1, -1)
    moved = migrated(Migration(new, old.description), row)[0]
    told = compare(shipped_config(), other)["up"]
    lost = {
        *told["columns"],
        *(f"policy:{n}" for n in told["policies"]),
        *(f"example:{n}" for n in told["examples"]),
    }
    there = {group.name: group for group in new.groups}
    for group in old.groups:
        if group.name not in lost:
            target = there[group.name].start
            assert (
                moved[target : target + group.words].tolist()
                == row[0, group.start : group.start + group.words].tolist()
            )


def test_the_same_layout_and_one_that_only_adds(tmp_path: Path) -> None:
    same = shutil.copytree(CONFIG, tmp_path / "same")
    policies = same / "policies.yaml"
    policies.write_text(
        policies.read_text(encoding="utf-8").replace("churn > 0.5", "churn > 0.6"), encoding="utf-8"
    )
    told = compare(shipped_config(), load_config(same))
    assert format_report(told) == [
        "the layout is the same: old and new workers can run side by side, and no data starts over"
    ]
    features = same / "features.yaml"
    features.write_text(
        features.read_text(encoding="utf-8") + "  reviews: {kind: count, on: [review]}\n", encoding="utf-8"
    )
    told = compare(shipped_config(), load_config(same))
    assert (told["lossless"], told["order"]) == (True, "workers, then learner")
    assert told["down"]["columns"] == ["reviews"]
    assert (
        format_report(told)[-1]
        == "nothing that the old version knows is lost, side by side and after a downgrade"
    )


def test_a_source_more_or_less_is_no_rollout_side_by_side(tmp_path: Path) -> None:
    fewer = shutil.copytree(CONFIG, tmp_path / "fewer")
    for name in ("features.yaml", "models.yaml"):
        text = (fewer / name).read_text(encoding="utf-8").replace(", offer.outcomes: value", "")
        start, stop = (text.find(f"  {model}:  ") for model in ("response", "lead"))
        text = text[:start] + text[stop:] if start > 0 else text
        kept = [line for line in text.splitlines(True) if not re.search("offer|outcome|rede", line)]
        (fewer / name).write_text("".join(kept), encoding="utf-8")
    old = load_config(fewer)
    told = compare(old, shipped_config())
    assert (told["sources_new"], told["sources_gone"]) == (["offer.outcomes"], [])
    assert told["order"].startswith("end all workers before the first new one starts")
    assert told["up"]["columns"] == []
    columns = {"offers_30d", "last_offer", "redeemed_90d", "redemptions", "last_redemption"}
    assert set(told["down"]["columns"]) == columns
    assert "new sources: offer.outcomes" in format_report(told)
    back = compare(shipped_config(), old)
    assert (back["sources_gone"], back["order"].split(";")[0]) == (
        ["offer.outcomes"],
        "end all workers before the first new one starts, as sources differ",
    )


def test_an_open_example_moves_with_what_it_keeps_or_not_at_all(tmp_path: Path) -> None:
    """Half a sum under another field's name would be a wrong label."""
    other = shutil.copytree(CONFIG, tmp_path / "other")
    models = other / "models.yaml"
    models.write_text(
        models.read_text(encoding="utf-8").replace("amount: amount", "amount: discount"), "utf-8"
    )
    told = compare(shipped_config(), load_config(other))
    assert told["up"] == {"columns": [], "policies": [], "examples": ["value"]}
