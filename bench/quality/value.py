"""The reference for models of what a customer will buy and spend: BG/NBD and Gamma-Gamma on CDNOW.

    python -m bench.quality.value

BG/NBD for purchases (Fader, Hardie and Lee 2005, "Counting Your Customers" the Easy Way) and Gamma-Gamma for their
amounts (Fader and Hardie 2013, The Gamma-Gamma Model of Monetary Value), both by maximum likelihood. They are fitted to
the 39 weeks up to 30 September 1997 and tested on the 39 weeks after. As in the papers, purchases on one day count as
one, and weeks are days / 7. `sample` is the tenth of the customers that the papers report on, `all` is everybody.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1
from scipy.stats import spearmanr

from bench.harness import keep, say
from config.settings import load_settings
from ingest.datasets import Cdnow
from models.metrics import amount_figures, auc, log_loss
from operations.evaluate import Trial
from pipeline.config import load_config

CUT: Final = date(1997, 9, 30)  # the last day of the calibration period
WEEK_MS: Final = 7 * 86_400_000
HOLDOUT_WEEKS: Final = 39.0  # up to the last day of the data
PUBLISHED: Final = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Histories:
    """float64[customers] each: repeat purchases, week of the last one, weeks observed, their mean amount (0: none).

    `bought` and `spent` are the purchases and their amounts in the holdout.
    """

    repeats: Numbers
    recency: Numbers
    observed: Numbers
    mean_amount: Numbers
    bought: Numbers
    spent: Numbers


def histories(customers: set[str] | None = None, cut: date = CUT) -> Histories:
    """Return the histories up to `cut`, in order of customer ids: of every customer, or only of `customers`."""
    days = Cdnow().purchases.group_by("customer", "day").agg(pl.col("amount").sum())
    if customers is not None:
        days = days.filter(pl.col("customer").is_in(list(customers)))
    before = pl.col("day") <= cut
    first = pl.col("day").min().over("customer")
    repeat = before & (pl.col("day") > first)
    table = (
        days.group_by("customer")
        .agg(
            repeat.filter(before).sum().alias("repeats"),
            ((pl.col("day").filter(before).max() - pl.col("day").min()).dt.total_days() / 7).alias("recency"),
            ((pl.lit(cut) - pl.col("day").min()).dt.total_days() / 7).alias("observed"),
            pl.col("amount").filter(before & (pl.col("day") > pl.col("day").min())).mean().fill_null(0.0),
            (~before).sum().alias("bought"),
            pl.col("amount").filter(~before).sum().alias("spent"),
        )
        .sort("customer")
    )
    names = ("repeats", "recency", "observed", "amount", "bought", "spent")
    return Histories(*(table[name].cast(pl.Float64).to_numpy() for name in names))


@dataclass(frozen=True)
class BgNbd:
    """Purchases at a rate from Gamma(r, alpha) until a dropout, whose chance after each is from Beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, known: Histories) -> BgNbd:
        """Maximize the likelihood (equation 6 of the paper) over the logarithms of the parameters."""

        def loss(logs: Numbers) -> float:
            return -float(np.mean(cls(*np.exp(logs).tolist()).log_likelihood(known)))

        found = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-8.0, 8.0)] * 4, tol=1e-12)
        return cls(*np.exp(found.x).tolist())

    def log_likelihood(self, known: Histories) -> Numbers:
        """The log-likelihood of each customer."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        x, last, end = known.repeats, known.recency, known.observed
        common = gammaln(r + x) - gammaln(r) + r * math.log(alpha) + betaln(a, b + x) - betaln(a, b)
        alive = -(r + x) * np.log(alpha + end)
        gone = math.log(a) - np.log(b + np.maximum(x, 1.0) - 1.0) - (r + x) * np.log(alpha + last)
        return np.asarray(common + np.logaddexp(alive, np.where(x > 0, gone, -np.inf)))

    def alive(self, known: Histories) -> Numbers:
        """The chance that each customer is still active; 1 for all who never came back."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        x, last, end = known.repeats, known.recency, known.observed
        odds = a / (b + np.maximum(x, 1.0) - 1.0) * ((alpha + end) / (alpha + last)) ** (r + x)
        return np.asarray(1.0 / (1.0 + np.where(x > 0, odds, 0.0)))

    def buys(self, known: Histories, weeks: float) -> Numbers:
        """The chance of a purchase in the next `weeks`: alive, and at least one purchase."""
        shape, rate = self.r + known.repeats, self.alpha + known.observed
        return np.asarray(self.alive(known) * (1.0 - (rate / (rate + weeks)) ** shape))

    def expected(self, known: Histories, weeks: float) -> Numbers:
        """The expected purchases in the next `weeks` (equation 10)."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        x, end = known.repeats, known.observed
        ratio = ((alpha + end) / (alpha + end + weeks)) ** (r + x)
        series = hyp2f1(r + x, b + x, a + b + x - 1.0, weeks / (alpha + end + weeks))
        return np.asarray((a + b + x - 1.0) / (a - 1.0) * (1.0 - ratio * series) * self.alive(known))


@dataclass(frozen=True)
class GammaGamma:
    """Amounts from Gamma(p, nu); the nu of each customer from Gamma(q, gamma)."""

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, known: Histories) -> GammaGamma:
        """Fit to the customers whose repeat purchases have a positive amount."""
        some = (known.repeats > 0) & (known.mean_amount > 0)
        x, z = known.repeats[some], known.mean_amount[some]

        def loss(logs: Numbers) -> float:
            p, q, gamma = np.exp(logs).tolist()
            terms = gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * math.log(gamma)
            terms = terms + (p * x - 1) * np.log(z) + p * x * np.log(x) - (p * x + q) * np.log(gamma + x * z)
            return -float(np.mean(terms))

        found = minimize(
            loss, np.array([1.0, 1.0, 2.0]), method="L-BFGS-B", bounds=[(-5.0, 8.0)] * 3, tol=1e-12
        )
        return cls(*np.exp(found.x).tolist())

    def expected(self, known: Histories) -> Numbers:
        """The mean amount of a customer's purchases (equation 5)."""
        x = np.where(known.mean_amount > 0, known.repeats, 0.0)
        total = self.gamma + x * known.mean_amount
        return np.asarray(self.p * total / (self.p * x + self.q - 1.0))


def run() -> dict[str, Any]:
    """Return parameters and figures, for the sample of the papers and for all customers."""
    lines = (Cdnow().folder / "CDNOW_sample.txt").read_text(encoding="ascii").splitlines()
    return {
        "published": PUBLISHED,
        "sample": _figures(histories({line.split()[0] for line in lines})),
        "all": _figures(histories()),
    }


def _figures(known: Histories) -> dict[str, Any]:
    model, money = BgNbd.fit(known), GammaGamma.fit(known)
    expected = model.expected(known, HOLDOUT_WEEKS)
    alive, buys = model.alive(known), model.buys(known, HOLDOUT_WEEKS)
    active = (known.bought > 0).astype(np.float64)
    share, again = float(active.mean()), known.repeats > 0
    as_before = known.repeats * HOLDOUT_WEEKS / known.observed
    return {
        "customers": len(active),
        "active_in_holdout": share,
        "bg_nbd": {
            **vars(model),
            "log_likelihood": float(model.log_likelihood(known).sum()),
        },
        "gamma_gamma": {**vars(money), "customers": int((known.mean_amount > 0).sum())},
        "purchases": {
            "actual": float(known.bought.sum()),
            "expected": float(expected.sum()),
            **_errors(expected, known.bought),
        },
        "purchases_as_before": _errors(as_before, known.bought),
        "alive": {"auc": auc(active, alive), "log_loss": log_loss(active, alive)},
        # In this model everybody who never came back is alive for certain, so it only ranks the others.
        "alive_of_repeaters": {
            "customers": int(again.sum()),
            "auc": auc(active[again], alive[again]),
            "log_loss": log_loss(active[again], alive[again]),
        },
        "buys": {"auc": auc(active, buys), "log_loss": log_loss(active, buys)},
        "share_alone_log_loss": log_loss(active, np.full(len(active), share)),
        "amount": {
            "actual": float(known.spent.sum()),
            "expected": float((expected * money.expected(known)).sum()),
            **_errors(expected * money.expected(known), known.spent),
        },
        "amount_as_before": _errors(as_before * known.mean_amount, known.spent),
    }


def live(models: Sequence[str] = ("churn", "value")) -> dict[str, Any]:
    """Compare the online models with BG/NBD and Gamma-Gamma fitted at the middle of the stream, on the same examples.

    The examples are those that open after the middle, each with what was known of its customer at that moment.
    """
    trial = Trial(load_config(load_settings().config), Cdnow())
    trial.run()
    start_ms = trial.middle_ms()
    cut = datetime.fromtimestamp(start_ms / 1000, UTC).date()
    known = histories(cut=cut)
    purchases, money = BgNbd.fit(known), GammaGamma.fit(known)
    report = trial.report(start_ms, list(models))["models"]
    for name in models:
        found = trial.evaluation.of(name, start_ms, trial.last_ms)
        then = moments(found.customers, found.opened)
        weeks = next(spec.within_ms for spec in trial.models if spec.name == name) / WEEK_MS
        if name == "churn":
            said = 1.0 - purchases.buys(then, weeks)
            other = {"auc": auc(found.labels, said), "log_loss": log_loss(found.labels, said)}
        else:
            other = amount_figures(found.labels, purchases.expected(then, weeks) * money.expected(then))
        report[name]["bg_nbd"] = other
    return {"cut": cut.isoformat(), "models": report}


def moments(customers: Sequence[str], opened: Sequence[int]) -> Histories:
    """Return what was known of each customer right after the purchase at this time (ms since the epoch)."""
    days: dict[str, list[tuple[date, float]]] = {}
    for customer, day, amount in (
        Cdnow().purchases.group_by("customer", "day").agg(pl.col("amount").sum()).sort("day").iter_rows()
    ):
        days.setdefault(customer, []).append((day, amount))
    rows = np.zeros((len(customers), 4))
    for row, customer, time_ms in zip(rows, customers, opened, strict=True):
        now = datetime.fromtimestamp(time_ms / 1000, UTC).date()
        past = [(day, amount) for day, amount in days[customer] if day <= now]
        weeks = (past[-1][0] - past[0][0]).days / 7
        again = [amount for _, amount in past[1:]]
        row[:] = len(again), weeks, weeks, sum(again) / len(again) if again else 0.0
    nothing = np.zeros(len(rows))
    return Histories(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], nothing, nothing)


def _errors(said: Numbers, actual: Numbers) -> dict[str, float]:
    return {
        "mae": float(np.mean(np.abs(said - actual))),
        "rmse": float(np.sqrt(np.mean((said - actual) ** 2))),
        "spearman": float(spearmanr(said, actual).statistic),
    }


def main() -> int:
    """Measure, store the figures for the page, print them as one line of JSON."""
    figures = {**run(), "live": live()}
    say(f"on the stream: {figures['live']}")
    for name in ("sample", "all"):
        say(f"{name}: BG/NBD {figures[name]['bg_nbd']}")
    keep("model_value", figures)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
