"""The other roles are polled, and one that is away is shown as away."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from console.board import Board
from serving.monitoring.metrics import RoleMetrics
from serving.monitoring.role_poller import RolePoller, poll_roles
from serving.monitoring.role_server import RoleServer

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def worker() -> Iterator[RoleServer]:
    server = RoleServer(
        "127.0.0.1",
        0,
        RoleMetrics("worker").registry,
        lambda: (True, ""),
        lambda: (False, "restoring"),
        lambda: {"role": "worker", "events": 5, "events_per_s": 2.5},
    ).start()
    yield server
    server.stop()


def test_a_role_is_reported_with_its_readiness_and_status(worker: RoleServer) -> None:
    address = f"127.0.0.1:{worker.port}"
    assert poll_roles({"worker": address}) == {
        "worker": {
            "address": address,
            "reachable": True,
            "ready": False,
            "reason": "restoring",
            "status": {"role": "worker", "events": 5, "events_per_s": 2.5},
        }
    }
    assert poll_roles({}) == {}


def test_a_role_that_went_away_keeps_what_it_told_last(worker: RoleServer) -> None:
    addresses = {"worker": f"127.0.0.1:{worker.port}"}
    before = poll_roles(addresses)
    worker.stop()
    after = poll_roles(addresses, before)["worker"]
    assert (after["reachable"], after["ready"]) == (False, False)
    assert after["reason"] == "no answer: Connection refused"
    assert after["status"]["events"] == 5


def test_roles_that_hang_are_given_up_together_and_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        reports = poll_roles(dict.fromkeys("abcd", address))
        assert time.monotonic() - begun < 1.5
    assert [report["reason"] for report in reports.values()] == ["no answer: timed out"] * 4


def test_an_answer_that_is_no_status_is_a_role_that_is_away() -> None:
    server = RoleServer(
        "127.0.0.1",
        0,
        RoleMetrics("x").registry,
        lambda: (True, ""),
        lambda: (True, ""),
        lambda: [1],  # type: ignore[arg-type,return-value]
    ).start()
    report = poll_roles({"x": f"127.0.0.1:{server.port}"})["x"]
    server.stop()
    assert report["reason"] == "no answer: /status is no object"


def test_the_poller_keeps_the_board_up_to_date(worker: RoleServer, until: Until) -> None:
    board = Board()
    addresses = {"worker": f"127.0.0.1:{worker.port}"}
    poller = RolePoller(addresses, board.update, period_s=0.01).start()
    until(lambda: board.snapshot()["totals"]["events"] == 5)
    addresses["learner"] = "127.0.0.1:1"
    until(lambda: "learner" in board.snapshot()["roles"])
    poller.stop()
    assert board.snapshot()["totals"]["events_per_s"] == 2.5


def test_while_nobody_looks_roles_are_asked_seldom_and_at_once_when_somebody_does(until: Until) -> None:
    board, watched = Board(), [False]
    asked: list[int] = []
    poller = RolePoller(
        _Noted(asked), board.update, period_s=0.01, watched=lambda: watched[0], unwatched_s=3600.0
    ).start()
    until(lambda: len(asked) == 1)
    poller.look()
    until(lambda: len(asked) == 2)
    watched[0] = True
    poller.look()
    until(lambda: len(asked) > 10)
    watched[0] = False
    poller.stop()  # and this waits for nobody to look


class _Noted(Mapping[str, str]):
    """No addresses; notes each time that they are read."""

    def __init__(self, asked: list[int]) -> None:
        self._asked = asked

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[str]:
        self._asked.append(1)
        return iter(())
