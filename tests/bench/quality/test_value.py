"""The reference for customer value is the papers': their parameters, likelihoods and worked example."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

pytest.importorskip("scipy")
if importlib.util.find_spec("lifetimes") is None:
    pytest.skip("no lifetimes", allow_module_level=True)

from bench.quality.value import HOLDOUT_WEEKS, PUBLISHED, BgNbd, Histories, run


@pytest.fixture(scope="module")
def figures() -> dict:
    return run()


def test_the_papers_parameters_come_out(figures: dict) -> None:
    found = figures["sample"]["bg_nbd"]
    assert {name: round(found[name], 3) for name in PUBLISHED} == PUBLISHED
    assert found["log_likelihood"] == pytest.approx(-9582.4, abs=0.05)
    assert figures["sample"]["customers"] == 2357
    money = figures["sample"]["gamma_gamma"]
    assert money["customers"] == 946
    assert [round(money[name], 2) for name in ("p", "q", "gamma")] == [6.25, 3.74, 15.44]


def test_the_papers_example() -> None:
    """Two repeat purchases, the last in week 30.43 of 38.86: 1.226 purchases are expected in 39 weeks."""
    one = Histories(*(np.array([value]) for value in (2.0, 30.43, 38.86, 22.35, 0.0, 0.0)))
    assert BgNbd(**PUBLISHED).expected(one, HOLDOUT_WEEKS)[0] == pytest.approx(1.226, abs=0.001)


def test_the_chance_to_buy_follows_from_simulated_customers() -> None:
    """Of simulated customers with one history, as many buy again as the model says."""
    model, draw, count = BgNbd(**PUBLISHED), np.random.default_rng(5), 400_000
    rates = draw.gamma(model.r, 1 / model.alpha, count)
    drops = draw.beta(model.a, model.b, count)
    times, gone = np.zeros(count), np.zeros(count, dtype=bool)
    purchases, last, later = np.zeros(count), np.zeros(count), np.zeros(count, dtype=bool)
    for _ in range(200):
        times = np.where(gone, np.inf, times + draw.exponential(1.0, count) / np.maximum(rates, 1e-300))
        inside = times <= 39.0
        purchases, last = purchases + inside, np.where(inside, times, last)
        later |= (times > 39.0) & (times <= 78.0)
        gone |= (draw.random(count) < drops) | (times > 78.0)
        if gone.all():
            break
    for repeats in (0, 1, 2):
        of = purchases == repeats
        known = Histories(purchases[of], last[of], np.full(of.sum(), 39.0), *(np.zeros(of.sum()),) * 3)
        said, seen = model.buys(known, 39.0).mean(), later[of].mean()
        assert seen == pytest.approx(said, abs=5 * np.sqrt(said * (1 - said) / of.sum()))
