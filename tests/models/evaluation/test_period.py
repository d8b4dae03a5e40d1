"""Figures over a period agree with those computed from all scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.evaluation.period import Period, PeriodFigures, Scores
from models.learning.replay_buffer import Item
from models.metrics import auc, log_loss


def an_example(opened: int, due: int, label: int, score: float) -> Item:
    return Item(due, 0, 0, 0, label, opened, score, np.empty(0, np.float32))


def test_binned_figures_are_those_of_all_scores() -> None:
    random = np.random.default_rng(7)
    scores = random.random(5000)
    labels = (random.random(5000) < scores).astype(int)
    counted = Scores()
    for label, score in zip(labels.tolist(), scores.tolist(), strict=True):
        counted.add(label, score)
    figures = counted.figures()
    assert figures["auc"] == pytest.approx(auc(labels, scores), abs=2e-5)
    assert figures["log_loss"] == pytest.approx(log_loss(labels, scores), rel=1e-9)
    assert (figures["examples"], figures["positives"]) == (5000, labels.sum())


def test_ties_count_half_and_the_extremes_have_a_bin() -> None:
    counted = Scores()
    for label, score in ((0, 0.0), (1, 0.0), (0, 1.0), (1, 1.0)):
        counted.add(label, score)
    assert counted.figures()["auc"] == 0.5


def test_one_class_has_no_auc_and_nothing_has_no_loss() -> None:
    counted = Scores()
    assert counted.figures() == {"examples": 0, "positives": 0, "auc": None, "log_loss": None}
    counted.add(1, 0.5)
    assert counted.figures()["auc"] is None


def test_only_examples_opened_and_due_within_the_period_count() -> None:
    figures = PeriodFigures(Period(100, 200))
    for opened, due in ((99, 150), (100, 200), (150, 201), (150, 160)):
        figures.add("m", an_example(opened, due, 1, math.nan), 0.5)
    assert figures.figures()["m"]["examples"] == 2
    assert figures.figures()["m"]["auc_at_decision"] is None


def test_an_open_period_holds_everything() -> None:
    assert Period.between(None, None).holds(an_example(-5, 10**15, 0, 0.1))
    assert not Period.between(0, None).holds(an_example(-5, 10**15, 0, 0.1))
