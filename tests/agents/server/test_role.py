"""The server role: decisions on the board, a customer's views from the workers, health on one port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from agents.server.decision_feed import DecisionFeed
from agents.server.forecast_feed import OutlookFeed
from agents.server.role import _ask, _hosts
from config.settings import load_settings
from console.board import Board
from console.forecasts import ForecastBoard
from serving.monitoring.role_server import RoleServer
from streams.errors import Retryable

Encode = Callable[[str, Sequence[dict[str, Any]]], list[bytes]]


@pytest.fixture
def worker() -> Iterator[str]:
    """A worker's HTTP port that knows one customer."""

    def customer(key: bytes) -> dict[str, float] | None:
        return {"order_count": 3.0} if key == b"a/b" else None

    server = RoleServer(
        "127.0.0.1",
        0,
        CollectorRegistry(),
        lambda: (True, ""),
        lambda: (True, ""),
        lambda: {"role": "worker"},
        customer,
    )
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop()


def test_a_customer_is_asked_of_every_worker(worker: str) -> None:
    assert _ask([worker], b"a/b") == {"order_count": 3.0}
    assert _ask([worker], b"nobody") is None
    assert _ask(["127.0.0.1:1", worker], b"a/b") == {"order_count": 3.0}
    with pytest.raises(Retryable, match=r"the role at 127\.0\.0\.1:1 does not answer"):
        _ask(["127.0.0.1:1", worker], b"nobody")


def test_the_page_may_be_called_by_the_name_that_other_roles_use() -> None:
    settings = load_settings(host="0.0.0.0", roles="worker=worker:9101,server=server:9104")
    assert _hosts(settings) == ["127.0.0.1", "localhost", "server"]


def test_decisions_reach_the_board_with_message_and_scores(
    broker: Any, until: Any, decision: Callable[..., dict[str, Any]], encode: Encode
) -> None:
    board, seen = Board(), list[Any]()
    broker.send("alerts", [*encode("decision", [decision(1)]), b"nonsense"])  # before it starts
    feed = DecisionFeed(
        broker.bootstrap,
        board,
        messages={"gone-quiet": "Call."},
        models=lambda layout: ["purchase", "churn"] if layout == 1 else [],
        seen=seen.append,
    ).start()
    until(lambda: board.decisions("alert"))
    broker.send("offers", encode("decision", [decision(2, "offer")]), partition=3)
    until(lambda: board.decisions("offer"))
    feed.stop()
    (alert,) = board.decisions("alert")
    assert (alert["customer"], alert["message"], alert["scores"]) == (
        "c1",
        "Call.",
        [("purchase", 0.25), ("churn", 0.75)],
    )
    assert len(seen) == 2


def test_forecasts_and_departures_reach_the_page(broker: Any, until: Any, encode: Encode) -> None:
    shown = ForecastBoard()
    forecast = {
        "forecast": "sales",
        "series": "total",
        "start": 1,
        "step_ms": 3_600_000,
        "coverage": 0.9,
        "steps": [],
    }
    departure = {"id": "d", "forecast": "sales", "series": "total", "direction": "below", "since": 1, "start": 1,
                 "step_ms": 3_600_000, "value": 0.0, "expected": 2.0, "lower": 1.0, "upper": 3.0,
                 "evidence": 1.5}  # fmt: skip
    broker.send("forecasts", [*encode("forecast", [forecast]), b"nonsense"], key=b"sales/total")
    broker.send("forecast.alerts", encode("departure", [departure, departure]), partition=2)
    feed = OutlookFeed(broker.bootstrap, shown).start()
    until(lambda: shown.snapshot()["departures"])
    until(lambda: shown.snapshot()["forecasts"])
    broker.send("forecasts", encode("forecast", [{**forecast, "start": 2}]), key=b"sales/total")
    until(lambda: shown.snapshot()["forecasts"]["sales"][0]["start"] == 2)
    broker.send("forecasts", [None], key=b"sales/total")
    until(lambda: not shown.snapshot()["forecasts"])
    feed.stop()
    assert shown.snapshot()["departures"] == [departure]


def test_the_server_answers_on_one_port(start: Any) -> None:
    address = start("server").address
    assert "Streamwise" in httpx.get(f"http://{address}/").text
    for path in ("/healthz", "/readyz", "/status", "/metrics"):
        assert httpx.get(f"http://{address}{path}").status_code == 200
    assert 'streamwise_role{role="server"} 1.0' in httpx.get(f"http://{address}/metrics").text
