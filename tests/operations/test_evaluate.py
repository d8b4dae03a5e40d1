"""An evaluation without a broker: the same figures each time, by scores that know only what had matured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from config.settings import load_settings
from ingest.open_source import source
from models.evaluation.nightly_baseline import DAY_MS, nightly_scores
from models.example import Example
from models.metrics import auc
from operations.evaluate import Trial, evaluate
from pipeline.config import load_config
from streams.errors import ConfigError

EVENTS = 6000


class Watched(Trial):
    """Remembers, for each version of a model, the latest label it has learned."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.known: dict[tuple[str, int], int] = {}
        self.latest: dict[str, int] = {}

    def _learn(self) -> None:
        before = len(self.evaluation)
        super()._learn()
        for model, label_time in zip(
            self.evaluation._models[before:], self.evaluation._times[3 * before + 2 :: 3], strict=True
        ):
            self.latest[model] = max(self.latest.get(model, 0), label_time)

    def _adopt(self) -> None:
        super()._adopt()
        for model, family in self.families.items():
            self.known.setdefault((model, family.leader.version), self.latest.get(model, 0))


@pytest.fixture(scope="module")
def trial() -> Watched:
    found = Watched(load_config(load_settings().config), source("complete-journey"))
    found.run(EVENTS)
    return found


def frame(trial: Trial, path: Path) -> pl.DataFrame:
    trial.evaluation.write_parquet(path)
    return pl.read_parquet(path)


def test_a_score_knows_no_label_of_its_future(trial: Watched, tmp_path: Path) -> None:
    examples = frame(trial, tmp_path / "a.parquet").filter(pl.col("snapshot") > 0)
    assert len(examples) > 1000
    for model, version, decided in examples.select(
        "model", "snapshot", pl.col("decision_time").dt.timestamp("ms")
    ).iter_rows():
        assert trial.known[model, version] <= decided


def test_the_same_events_give_the_same_examples_bit_for_bit(trial: Watched, tmp_path: Path) -> None:
    again = Trial(load_config(load_settings().config), source("complete-journey"))
    again.run(EVENTS)
    assert frame(trial, tmp_path / "a.parquet").equals(frame(again, tmp_path / "b.parquet"), null_equal=True)


def evaluated(name: str = "complete-journey", **given: Any) -> dict[str, Any]:
    """What the command reports with these options and no others."""
    options: dict[str, Any] = dict.fromkeys(("mapping", "examples", "model", "start", "limit"))
    return evaluate(load_settings(), name, **{**options, "quiet": True, **given})


def test_the_report_has_what_the_command_promises(tmp_path: Path) -> None:
    target = tmp_path / "examples.parquet"
    result = evaluated(examples=target, model="purchase", limit=2000)
    assert set(result["models"]) == set(result["all"]) == {"purchase"}
    assert {"examples", "positives", "auc", "log_loss", "ece"} <= set(result["models"]["purchase"])
    assert result["events"] == 2000
    columns = pl.read_parquet(target).columns
    assert columns[:9] == [
        "id", "customer", "model", "label", "decision_time", "due", "label_time", "score", "snapshot",
    ]  # fmt: skip
    assert Example.__dataclass_fields__.keys() & set(columns)


def test_a_horizon_may_be_another_for_once(tmp_path: Path) -> None:
    target = tmp_path / "examples.parquet"
    result = evaluated(examples=target, model="churn", limit=6000, horizon="5d")
    assert set(result["models"]) == {"churn"}
    times = pl.read_parquet(target).filter(pl.col("model") == "churn").select("decision_time", "due")
    assert len(times) > 1000
    assert (times["due"] - times["decision_time"]).dt.total_days().unique().to_list() == [5]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"model": "x"}, "--model: expected one of purchase, churn, response, lead, value, got 'x'"),
        ({"start": "July"}, "--from: expected a date such as 2017-07-01, got 'July'"),
        ({"examples": Path("/nowhere/at/all.parquet")}, "--examples: there is no folder /nowhere/at"),
        ({"horizon": "3d"}, "--horizon: expected --model too: each model has its own horizon"),
        (
            {"model": "churn", "horizon": "a month"},
            "--horizon: expected a duration such as 90s, 30m, 1h, 3d or 1w, got 'a month'",
        ),
        (
            {"model": "churn", "horizon": "500w"},
            "--horizon: expected less than expire_after of features.yaml",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluated(**given)
    assert str(caught.value) == line


def test_the_baseline_is_judged_on_the_same_examples(trial: Watched) -> None:
    days: list[None] = []
    result = trial.report(trial.middle_ms(), ["purchase"], baseline=True, on_day=lambda: days.append(None))
    purchase = result["models"]["purchase"]
    assert purchase["examples"] > 1000
    assert set(purchase["baseline"]) == {"auc", "log_loss", "ece"}
    assert 0.6 < purchase["baseline"]["auc"] < 0.9
    assert 5 < len(days) < 40
    plain = trial.report(trial.middle_ms(), ["purchase"])["models"]["purchase"]
    assert plain == {key: value for key, value in purchase.items() if key != "baseline"}


def test_a_baseline_knows_nothing_of_its_day() -> None:
    """Labels that turn every midnight: who looks ahead is right, who does not is wrong each time."""
    draw = np.random.default_rng(1)
    x = draw.random((4000, 1)).astype(np.float32)
    day = np.arange(4000) // 1000
    labels = ((x[:, 0] > 0.5) ^ (day % 2 == 1)).astype(float)
    opened = day * DAY_MS + DAY_MS // 2
    scores = nightly_scores(x, labels, opened, opened + 1, DAY_MS)
    assert np.isnan(scores[:1000]).all()
    assert auc(labels[1000:2000], scores[1000:2000]) < 0.01
    known = nightly_scores(x, labels, opened, opened + 40 * DAY_MS, DAY_MS)
    assert (known[1000:] == 0.5).all()  # nothing is due


def test_another_baseline_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected nightly-lightgbm, got 'x'"):
        evaluated("cdnow", limit=1, baseline="x")
