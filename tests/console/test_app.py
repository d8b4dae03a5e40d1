"""The live page: rendered once for everybody, escaped, and nothing on it reaches outside."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from console.app import HERE, REGIONS, create_app, run_page
from console.board import Board
from console.event_stream import QUEUE_MAX, EventStream
from console.forecasts import ForecastBoard
from streams.errors import Fatal, Retryable

EVIL = "<script>alert('x')</script>\"&"


def customer(key: bytes) -> Mapping[str, Any] | None:
    if key == b"away":
        raise Retryable("Redis at redis://127.0.0.1:6379/0: away")
    return {"orders_90d": 4.25, "shown": key.hex()} if key != b"nobody" else None


def busy_board() -> Board:
    board = Board()
    for number, kind in enumerate(("alert", "offer")):
        board.add_decision(
            {
                "id": f"{kind}{EVIL}",
                "kind": kind,
                "time": 1_489_000_000_000 + number,
                "customer": EVIL,
                "policy": f"policy{EVIL}",
                "message": f"message{EVIL}",
                "cause": "order",
                "scores": {"purchase": 0.7123, "churn": None},
            }
        )
    for rate in (1.0, 2.0):
        board.update(
            {
                f"worker{EVIL}": {
                    "address": "127.0.0.1:1",
                    "reachable": True,
                    "ready": False,
                    "reason": f"reason{EVIL}",
                    "status": {
                        "role": "worker",
                        "events": 1234567,
                        "events_per_s": rate,
                        "lag": {f"topic{EVIL}": 3},
                        "dead_letters": {f"dead{EVIL}": 2},
                        "outputs": {f"policy{EVIL}": 9},
                        "kinds": {f"policy{EVIL}": EVIL},
                        "models": {f"model{EVIL}": {"auc": 0.7884, "log_loss": 0.5, "examples": 5}},
                    },
                }
            }
        )
    return board


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    page = run_page(app, "127.0.0.1", 0)
    with httpx.Client(base_url=f"http://127.0.0.1:{page.port}", trust_env=False, timeout=5) as client:
        yield client
    page.stop()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving(create_app(busy_board(), customer, recommended=recommended, outlooks=outlooks())) as made:
        yield made


def recommended(key: bytes) -> list[dict[str, Any]]:
    return [] if key == b"new" else [{"product": f"product{EVIL}", "score": 0.3125}]


def outlooks() -> ForecastBoard:
    found = ForecastBoard()
    steps = [{"expected": 20.5, "lower": 10.25, "upper": 31.0}] * 24
    for series in (f"series{EVIL}", "total", "other"):
        record = {
            "forecast": f"sales{EVIL}",
            "series": series,
            "start": 1_489_017_600_000,
            "step_ms": 3_600_000,
        }
        found.put(series.encode(), {**record, "coverage": 0.9, "steps": steps})
    found.put(b"gone", {**record, "series": "gone", "coverage": 0.9, "steps": steps})
    found.put(b"gone", None)
    departure = {"id": "d", "direction": "below", "since": 1_489_000_000_000, "value": 1.5, "evidence": 2.0}
    for _ in range(2):
        found.add_departure({**record, **departure, "expected": 7.5, "lower": 5.5, "upper": 9.5})
    return found


def test_forecasts_have_a_page_and_are_there_as_json(client: httpx.Client) -> None:
    page = client.get("/forecasts").text
    assert page.count("10.25 to 31") == 3 * 8
    assert "<td>below</td>" in page
    assert "2017-03-09 00:00:00" in page
    found = client.get("/forecasts.json").json()
    (series,) = found["forecasts"].values()
    assert [one["series"] for one in series] == ["total", f"series{EVIL}", "other"]
    assert len(series[0]["steps"]) == 24
    assert [one["id"] for one in found["departures"]] == ["d"]
    assert 'href="/forecasts"' in client.get("/").text


def test_without_an_analyst_there_is_nothing_yet() -> None:
    with serving(create_app(Board(), outlooks=ForecastBoard())) as client:
        assert "Is the analyst up?" in client.get("/forecasts").text


def test_a_customer_has_next_products(client: httpx.Client) -> None:
    assert "0.312" in client.get("/customers/someone").text
    assert "Next products" not in client.get("/customers/new").text


def test_the_page_shows_what_is_going_on(client: httpx.Client) -> None:
    page = client.get("/").text
    for shown in ("1,234,567", "0.788", "0.500", "0.712", "2017-03-08", "Not ready"):
        assert shown in page
    for region in REGIONS:
        assert f'id="{region}"' in page


def test_an_empty_board_has_a_page_too() -> None:
    with serving(create_app(Board())) as client:
        page = client.get("/").text
        assert client.get("/customers/anna").status_code == 404
    assert page.count("None yet.") == 2
    assert "Look up" not in page


@pytest.mark.parametrize(
    "path", ["/", "/forecasts", "/customers/%3Cscript%3Ealert('x')%3C%2Fscript%3E%22%26"]
)
def test_everything_from_outside_is_escaped(client: httpx.Client, path: str) -> None:
    page = client.get(path).text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;" in page
    assert "<script>" not in page
    assert "'x'" not in page


@pytest.mark.parametrize("path", ["/", "/customers/anna", "/static/page.js", "/nothing", "/events-not"])
def test_every_answer_has_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_nothing_reaches_outside_and_nothing_is_inline() -> None:
    files = [path for folder in ("templates", "static") for path in (HERE / folder).iterdir()]
    for path in files:
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|//[a-z]|@import|url\(", text), path.name
        assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:|\|\s*safe", text), path.name
    assert {Path(path).suffix for path in files} == {".html", ".css", ".js", ".svg"}


def test_a_customer_is_looked_up_by_the_bytes_of_the_key(client: httpx.Client) -> None:
    answer = client.get("/customers/a%2Fb%FF")
    assert answer.status_code == 200
    assert b"a/b\xff".hex() in answer.text
    assert "4.25" in answer.text


def test_the_form_leads_to_the_customer(client: httpx.Client) -> None:
    answer = client.get("/customers", params={"key": "a/b é\r\nX: y"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/customers/a%2Fb%20%C3%A9%0D%0AX%3A%20y"
    assert b"..".hex() in client.get("/customers?key=..").text


def test_a_customer_that_cannot_be_shown(client: httpx.Client) -> None:
    for key, code, line in (
        ("nobody", 404, "No such customer."),
        ("away", 503, "Redis at redis://127.0.0.1:6379/0: away"),
        ("x" * 1025, 400, "at most 1024 bytes"),
    ):
        answer = client.get(f"/customers/{key}")
        assert (answer.status_code, line in answer.text) == (code, True)


def test_a_page_of_another_name_is_refused(client: httpx.Client) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_health_follows_the_ticking() -> None:
    app = create_app(Board())
    with serving(app) as client:
        assert client.get("/healthz").status_code == 200
        app.state.ticking.get_loop().call_soon_threadsafe(app.state.ticking.cancel)
        for _ in range(100):
            if client.get("/healthz").status_code == 503:
                return
    pytest.fail("a page that no longer ticks called itself live")


def parse(sent: bytes) -> tuple[str, dict[str, Any]]:
    event, data = sent.decode().strip().split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_one_rendering_serves_every_client() -> None:
    async def look() -> None:
        renderings = 0

        def render() -> dict[str, str]:
            nonlocal renderings
            renderings += 1
            return {"count": str(renderings), "still": "same"}

        feed = EventStream(render, tick_s=60)
        streams = [feed.stream() for _ in range(5)]
        for stream in streams:
            assert parse(await anext(stream)) == ("snapshot", {"count": "1", "still": "same"})
        assert renderings == 1
        feed.tick()
        assert renderings == 2
        for stream in streams:
            assert parse(await anext(stream)) == ("patch", {"count": "2"})
            event, beat = parse(await anext(stream))
            assert (event, "time_ms" in beat) == ("beat", True)
            await stream.aclose()  # type: ignore[attr-defined]
        assert feed.clients == 0

    asyncio.run(look())


def test_a_page_where_nothing_changes_gets_heartbeats_only() -> None:
    async def look() -> None:
        feed = EventStream(lambda: {"a": "b"}, tick_s=60)
        stream = feed.stream()
        await anext(stream)
        feed.tick()
        feed.tick()
        assert [parse(await anext(stream))[0] for _ in range(2)] == ["beat", "beat"]

    asyncio.run(look())


def test_a_client_that_does_not_read_loses_its_stream_and_others_keep_theirs() -> None:
    async def look() -> None:
        feed = EventStream(lambda: {}, tick_s=60)
        slow, quick = feed.stream(), feed.stream()
        await anext(slow)
        await anext(quick)
        for _ in range(QUEUE_MAX + 1):
            feed.tick()
            await anext(quick)
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
        assert feed.clients == 1
        feed.close()
        with pytest.raises(StopAsyncIteration):
            await anext(quick)
        assert [sent async for sent in feed.stream()] == []

    asyncio.run(look())


def test_too_many_clients_are_turned_away() -> None:
    feed = EventStream(dict, clients_max=0)
    assert feed.full


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_the_stream_over_http_begins_with_a_snapshot_and_ends_when_the_page_stops() -> None:
    board = Board()
    page = run_page(create_app(board, tick_s=0.02), "127.0.0.1", 0)
    with httpx.Client(trust_env=False, timeout=5) as client:
        with client.stream("GET", f"http://127.0.0.1:{page.port}/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert "content-security-policy" in response.headers
            stream = events(response)
            name, snapshot = next(stream)
            assert (name, set(snapshot)) == ("snapshot", set(REGIONS))
            made = {"id": "1", "kind": "alert", "time": 1, "customer": "anna", "policy": "churn-risk"}
            board.add_decision(made)
            patch = next(regions for name, regions in stream if name == "patch")
            assert set(patch) == {"alerts"}
            assert "churn-risk" in patch["alerts"]
            page.stop()
            assert all(name in ("beat", "patch") for name, _ in stream)
        with pytest.raises(httpx.ConnectError):
            client.get(f"http://127.0.0.1:{page.port}/")


def test_a_port_in_use_is_fatal_in_one_line() -> None:
    page = run_page(create_app(Board()), "127.0.0.1", 0)
    with pytest.raises(Fatal, match=rf"cannot listen on 127\.0\.0\.1:{page.port} \(Address already in use\)"):
        run_page(create_app(Board()), "127.0.0.1", page.port)
    page.stop()


def test_a_browser_that_does_not_read_loses_its_stream() -> None:
    """Over a real connection: what waits for it is bounded, and the others go on."""
    board = busy_board()
    app = create_app(board, tick_s=0.01)
    feed = app.state.feed
    number = iter(range(10**9))
    feed._render = lambda: {"totals": str(next(number)) + "x" * 200_000}
    page = run_page(app, "127.0.0.1", 0)
    silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(5)]
    for one in silent:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        deadline = time.monotonic() + 30
        with httpx.stream("GET", f"http://127.0.0.1:{page.port}/events", timeout=30) as answer:
            beats = 0
            for line in answer.iter_lines():
                beats += line == "event: beat"
                if beats > 20 and feed.clients == 1:
                    break
                assert time.monotonic() < deadline, feed.clients
    finally:
        for one in silent:
            one.close()
        page.stop()


def test_who_opens_the_page_is_noticed() -> None:
    looks: list[int] = []
    with serving(create_app(Board(), looked=lambda: looks.append(1))) as client:
        client.get("/healthz")
        assert not looks
        client.get("/")
        assert len(looks) == 1
        with client.stream("GET", "/events") as stream:
            next(stream.iter_lines())
        assert len(looks) == 2


def test_a_page_that_nobody_asks_wakes_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []
    real = uvicorn.Server.on_tick

    async def on_tick(self: uvicorn.Server, counter: int) -> bool:
        turns.append(time.monotonic())
        return await real(self, counter)

    monkeypatch.setattr(uvicorn.Server, "on_tick", on_tick)
    with serving(create_app(Board())) as client:
        first = client.get("/healthz").headers["date"]
        time.sleep(2.1)
        assert client.get("/healthz").headers["date"] != first
        assert len(turns) <= 6


def test_a_page_that_sleeps_is_woken_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.app.DATE_S", 60.0)
    page = run_page(create_app(Board()), "127.0.0.1", 0)
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"http://127.0.0.1:{page.port}/healthz").status_code == 200
    page.stop()
    assert not page._thread.is_alive()
