"""A role answers for itself: alive, ready, what it did, what it knows of a customer."""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import httpx
import pytest

from serving.monitoring.metrics import RoleMetrics
from serving.monitoring.role_server import RoleServer
from streams.errors import Fatal, Retryable

REAL_SELECT = selectors.DefaultSelector.select


class Role:
    live = (True, "")
    ready = (True, "")
    keys: list[bytes]

    def __init__(self) -> None:
        self.keys = []

    def customer(self, key: bytes) -> Mapping[str, Any] | None:
        self.keys.append(key)
        if key == b"away":
            raise Retryable("Redis is away")
        return {"orders": 2.0, "gap": math.nan, "key": key} if key != b"nobody" else None


@pytest.fixture
def role() -> Role:
    return Role()


@pytest.fixture
def server(role: Role) -> Iterator[RoleServer]:
    metrics = RoleMetrics("worker")
    metrics.set({"events": 5})
    made = RoleServer(
        "127.0.0.1",
        0,
        metrics.registry,
        lambda: role.live,
        lambda: role.ready,
        lambda: {"role": "worker", "events": 5},
        role.customer,
    )
    yield made.start()
    made.stop()


def get(server: RoleServer, path: str) -> httpx.Response:
    with httpx.Client(trust_env=False) as client:
        return client.get(f"http://127.0.0.1:{server.port}{path}")


def test_metrics_status_and_health(server: RoleServer) -> None:
    metrics = get(server, "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "streamwise_events_total 5.0" in metrics.text
    assert get(server, "/status?pretty").json() == {"role": "worker", "events": 5}
    assert get(server, "/healthz").text == "live\n"
    assert get(server, "/readyz").text == "ready\n"
    assert get(server, "/nothing").status_code == 404


def test_a_role_that_is_not_ready_says_why(server: RoleServer, role: Role) -> None:
    role.ready = (False, "restoring rows: 40%")
    answer = get(server, "/readyz")
    assert (answer.status_code, answer.text) == (503, "restoring rows: 40%\n")
    assert get(server, "/healthz").text == "live\n"


def test_a_role_that_is_not_alive_says_why(server: RoleServer, role: Role) -> None:
    role.live = (False, "the event loop has stood still for 61 s")
    answer = get(server, "/healthz")
    assert (answer.status_code, answer.text) == (503, "the event loop has stood still for 61 s\n")


def test_a_customer_is_found_by_the_bytes_of_the_key(server: RoleServer, role: Role) -> None:
    answer = get(server, "/customers/a%2Fb%00%FF%20c")
    assert role.keys == [b"a/b\0\xff c"]
    assert answer.json() == {"orders": 2.0, "gap": None, "key": "a/b\0\\xff c"}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_unknown_customer_and_a_store_that_is_away(server: RoleServer) -> None:
    assert get(server, "/customers/nobody").status_code == 404
    away = get(server, "/customers/away")
    assert (away.status_code, away.json()) == (503, {"error": "Redis is away"})


def test_other_methods(server: RoleServer) -> None:
    with httpx.Client(trust_env=False) as client:
        head = client.head(f"http://127.0.0.1:{server.port}/healthz")
        assert (head.status_code, head.text) == (200, "")
        assert client.post(f"http://127.0.0.1:{server.port}/status").status_code == 501


def test_a_client_that_hangs_up_is_no_news(server: RoleServer, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert get(server, "/healthz").status_code == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_in_use_is_fatal_in_one_line(server: RoleServer) -> None:
    metrics = RoleMetrics("worker")
    with pytest.raises(
        Fatal, match=rf"cannot listen on 127\.0\.0\.1:{server.port} \(Address already in use\)"
    ):
        RoleServer(
            "127.0.0.1", server.port, metrics.registry, lambda: (True, ""), lambda: (True, ""), lambda: {}
        )


def test_no_more_requests_at_a_time_than_there_are_threads_for(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that connect and say nothing have their share; the port answers again once they are gone."""
    monkeypatch.setattr("serving.monitoring.role_server.REQUESTS_MAX", 3)
    metrics = RoleMetrics("worker")
    server = RoleServer(
        "127.0.0.1", 0, metrics.registry, lambda: (True, ""), lambda: (True, ""), lambda: {}, role.customer
    )
    server.start()
    with ExitStack() as stack:
        stack.callback(server.stop)
        with ExitStack() as silent:
            for _ in range(3):  # connections are taken in the order that they came in
                silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            assert not _answers(server)
        for _ in range(10_000):
            if _answers(server):
                return
        raise AssertionError("it does not answer any more")


def _answers(server: RoleServer) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{server.port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_server_that_nobody_asks_sleeps_and_stops_at_once(role: Role) -> None:
    metrics = RoleMetrics("worker")
    made = RoleServer(
        "127.0.0.1", 0, metrics.registry, lambda: (True, ""), lambda: (True, ""), lambda: {"role": "worker"}
    )
    with mock.patch.object(selectors.DefaultSelector, "select", autospec=True) as select:
        turns, goes_on = [], threading.Event()

        def selected(selector: Any, timeout: float | None = None) -> Any:
            turns.append(timeout)
            goes_on.set()
            return REAL_SELECT(selector, timeout)

        select.side_effect = selected
        made.start()
        assert goes_on.wait(5)
        begun = time.monotonic()
        made.stop()
    assert turns == [None]
    assert time.monotonic() - begun < 1.0
