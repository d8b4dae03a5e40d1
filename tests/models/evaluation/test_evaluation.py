"""models/evaluation/evaluation.py: the figures, and the file that others read."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from models.evaluation.evaluation import Evaluation, Figures
from models.example import Example

FEATURES = ("orders_1w", "score")  # the second has the name of a column


def example(
    opened: int, label: float, score: float, model: str = "purchase", due: int | None = None
) -> Example:
    due = opened + 10 if due is None else due
    return Example(f"c:{model}:{opened}", "c", model, label, opened, due, opened + 5, score, 2, (1.5, 0.1))


def collected() -> Evaluation:
    evaluation = Evaluation(FEATURES)
    for opened, label, score in ((0, 1, 0.1), (100, 0, 0.1), (110, 0, 0.4), (120, 1, 0.35), (130, 1, 0.8)):
        evaluation.add(example(opened, label, score))
    evaluation.add(example(140, 0, math.nan))
    evaluation.add(example(150, 1, 0.5, model="churn"))
    return evaluation


def test_figures_of_each_model_from_a_start() -> None:
    found = collected().figures(start_ms=100)
    purchase, churn = found["purchase"], found["churn"]
    assert isinstance(purchase, Figures)
    assert isinstance(churn, Figures)
    assert (purchase.examples, purchase.positives, purchase.unscored, purchase.auc) == (4, 2, 1, 0.75)
    expected = -(math.log(0.9) + math.log(0.6) + math.log(0.35) + math.log(0.8)) / 4
    assert purchase.log_loss == pytest.approx(expected)
    assert purchase.ece is not None
    assert (churn.examples, churn.auc) == (1, None)
    assert set(churn.to_dict()) == {
        "examples",
        "positives",
        "auc",
        "log_loss",
        "ece",
        "ece_by_chance",
        "unscored",
    }


def test_amounts_are_judged_by_how_far_off_and_in_which_order() -> None:
    evaluation = Evaluation(FEATURES, amounts=["value"])
    for opened, amount, score in ((0, 10.0, 14.0), (1, 20.0, 17.0), (2, 0.0, 0.0), (3, 90.0, math.nan)):
        evaluation.add(example(opened, amount, score, model="value"))
    evaluation.add(example(4, 1, 0.5))
    found = evaluation.figures()
    value = found["value"].to_dict()
    assert value == {
        "examples": 3, "mean": 10.0, "mae": pytest.approx(7 / 3), "rmse": pytest.approx((25 / 3) ** 0.5),
        "spearman": pytest.approx(1.0), "unscored": 1,
    }  # fmt: skip
    assert found["purchase"].to_dict().keys() == evaluation.nothing("purchase").to_dict().keys()
    assert evaluation.nothing("value").to_dict() == {
        **dict.fromkeys(value, None),
        "examples": 0,
        "unscored": 0,
    }


def test_examples_due_after_the_end_do_not_count() -> None:
    """Of those only the ones proved early are known."""
    evaluation = collected()
    evaluation.add(example(160, 1, 0.9, due=1000))
    assert evaluation.figures(end_ms=500)["purchase"] == collected().figures()["purchase"]


def test_nothing_collected() -> None:
    assert Evaluation(FEATURES).figures() == {}


def test_an_example_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 features; expected 1"):
        Evaluation(("a",)).add(example(0, 1, 0.5))


def test_the_file_has_every_example(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    collected().write_parquet(path)
    frame = pl.read_parquet(path)
    assert frame.columns == [
        *("id", "customer", "model", "label", "decision_time", "due", "label_time", "score", "snapshot"),
        *("orders_1w", "feature.score"),
    ]
    assert frame.height == 7
    first = frame.row(1, named=True)
    assert first["decision_time"] == datetime.fromtimestamp(0.1, UTC)
    assert first["label_time"] == datetime.fromtimestamp(0.105, UTC)
    assert (first["label"], first["score"], first["snapshot"], first["orders_1w"]) == (0, 0.1, 2, 1.5)
    assert frame["feature.score"].dtype == pl.Float32
    assert math.isnan(frame["score"][5])


def test_the_file_of_nothing_has_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    Evaluation(FEATURES).write_parquet(path)
    assert pl.read_parquet(path).height == 0
    assert pl.read_parquet(path).schema["customer"] == pl.String
