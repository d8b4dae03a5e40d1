"""The board adds up the roles and keeps the newest decisions, and no more."""

from __future__ import annotations

import math
from typing import Any

import pytest

from console import format as figures
from console.board import Board, customer_path
from serving.monitoring.status import RoleReport, RoleStatus


def report(status: RoleStatus, reachable: bool = True) -> RoleReport:
    return {"address": "a", "reachable": reachable, "ready": reachable, "reason": "", "status": status}


def decision(number: int, **changes: Any) -> dict[str, Any]:
    made = {"id": f"i{number}", "kind": "alert", "time": number, "customer": "anna", "policy": "p"}
    return made | changes


def test_workers_are_added_up_and_one_that_is_away_has_no_rate() -> None:
    board = Board()
    one: RoleStatus = {
        "role": "worker",
        "events": 10,
        "events_per_s": 5,
        "lag": {"web.events": 3},
        "outputs": {"a": 1, "b": 4},
        "kinds": {"a": "alert", "b": "offer"},
        "examples": {"purchase": 2},
        "watermark_ms": 50,
        "dead_letters": {"bad": 1},
    }
    other: RoleStatus = {**one, "watermark_ms": 40}
    ledger: RoleStatus = {"role": "ledger", "lag": {"alerts": 9}, "events": 1, "dead_letters": {"bad": 2}}
    board.update({"w1": report(one), "w2": report(other, reachable=False), "ledger": report(ledger)})
    shown = board.snapshot()
    totals = shown["totals"]
    assert (totals["events"], totals["events_per_s"], totals["lag"]) == (20, 5, 6)
    assert (totals["examples"], totals["watermark_ms"], totals["dead_letters"]) == (4, 40, 4)
    assert shown["policies"] == [("b", "offer", 8), ("a", "alert", 2)]
    assert shown["dead_letters"] == {"bad": 4}
    assert not totals["ready"]


def test_a_model_has_the_learners_figures_and_the_workers_snapshot() -> None:
    board = Board()
    board.update(
        {
            "worker": report({"role": "worker", "models": {"purchase": {"version": 4, "auc": None}}}),
            "learner": report({"role": "learner", "models": {"purchase": {"version": 5, "auc": 0.8}}}),
        }
    )
    assert board.snapshot()["models"] == {"purchase": {"version": 4, "auc": 0.8}}


def test_decisions_are_bounded_the_newest_first_and_never_twice() -> None:
    board = Board(decisions=3)
    for number in (1, 2, 2, 3, 4, 3):
        board.add_decision(decision(number))
    board.add_decision(decision(9, kind="offer", customer=b"\xff"))
    assert [d["id"] for d in board.decisions("alert")] == ["i4", "i3", "i2"]
    assert [d["customer"] for d in board.snapshot()["offers"]] == ["\\xff"]
    assert [d["id"] for d in board.decisions_of(b"anna")] == ["i4", "i3", "i2"]
    assert [d["id"] for d in board.decisions_of(b"\xff")] == ["i9"]


def test_the_history_of_rates_is_bounded() -> None:
    board = Board(history=4)
    for number in range(9):
        board.update({"w": report({"role": "worker", "events_per_s": number})})
    assert board.snapshot()["rates"] == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (b"anna", "/customers/anna"),
        (b"a/b?c#d%", "/customers/a%2Fb%3Fc%23d%25"),
        (b"\xff\0", "/customers/%FF%00"),
        (b"..", "/customers?key=.."),
        (b"", "/customers?key="),
    ],
)
def test_every_key_has_a_path_that_no_browser_bends(key: bytes, path: str) -> None:
    assert customer_path(key) == path


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.count(1234567), "1,234,567"),
        (figures.count(None), "–"),
        (figures.large(47_400_000), "47,400,000"),
        (figures.large(1_234_500_000), "1,234.5 M"),
        (figures.number(12), "12"),
        (figures.number(12.0), "12"),
        (figures.number(0), "0"),
        (figures.number(0.03124), "0.03124"),
        (figures.number(1234.56), "1,234.6"),
        (figures.number(-0.5), "-0.5"),
        (figures.number(99.99999), "100"),
        (figures.number(1.2345e-9), "1.23e-09"),
        (figures.number(2.0**60), "1.15e+18"),
        (figures.number(math.nan), "–"),
        (figures.number(math.inf), "–"),
        (figures.number(True), "True"),
        (figures.number("text"), "text"),
        (figures.share(0.7884), "0.788"),
        (figures.share(math.nan), "–"),
        (figures.age(0.42), "0.4 s"),
        (figures.age(90), "1.5 min"),
        (figures.age(1e6), "11.6 d"),
        (figures.age(None), "–"),
        (figures.stamp(1_488_636_202_999), "2017-03-04 14:03:22"),
        (figures.day(1_488_636_202_999), "2017-03-04"),
        (figures.clock(1_488_636_202_999), "14:03:22"),
        (figures.iso(1_488_636_202_999), "2017-03-04T14:03:22Z"),
        (figures.stamp(10**20), "–"),
        (figures.stamp(None), "–"),
    ],
)
def test_figures_read_as_a_person_writes_them(shown: str, expected: str) -> None:
    assert shown == expected
