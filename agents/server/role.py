"""The server role: the live page, with the figures of all roles, the newest decisions and any customer's views."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from agents.processes import say_ready
from agents.runtime import stop_event
from config.settings import Settings
from console.app import LOOPBACK_NAMES, create_app, run_page
from console.board import Board
from console.forecasts import ForecastBoard
from pipeline.config import Config, load_config
from serving.monitoring import RoleMetrics, RolePoller, RoleStatus
from serving.recommendations import recommendation_reader
from serving.views import Layouts, ReadCustomer, RedisViews, view_reader
from streams.errors import Retryable
from streams.kafka import Kafka
from streams.supervision import Watch, Watchdog

from .decision_feed import DecisionFeed
from .explanations import Reasons
from .forecast_feed import OutlookFeed

ASK_TIMEOUT_S = 2.0
ANSWER_MAX_BYTES = 1 << 20


class ServerRole:
    """Serves the page for people; the same port answers /healthz, /readyz, /status and /metrics."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        config = load_config(settings.config)
        self.board = Board()
        self.poller = RolePoller(settings.role_addresses, self.board.update, watched=self._watched)
        layouts = Layouts(settings.access, config.layout)
        self.reasons = Reasons(settings.access, config, layouts.get)
        self.feed = open_decision_feed(settings.access, self.board, config, reasons=self.reasons.of)
        self.outlooks = ForecastBoard()
        self.outlook_feed = OutlookFeed(settings.access, self.outlooks)
        app = create_app(
            self.board,
            _customer_reader(settings, config),
            recommended=recommendation_reader(settings, _ask),
            outlooks=self.outlooks,
            hosts=_hosts(settings),
            looked=self.poller.look,
        )
        self._viewers = app.state.feed
        _add_health(app, self.status)
        self.page = run_page(app, settings.host, settings.server_port)
        self.watchdog = Watchdog([Watch(lambda: {"page": app.state.feed.turns})])

    def _watched(self) -> bool:
        """Return whether anybody has the page open."""
        return bool(self._viewers.clients)

    def status(self) -> RoleStatus:
        """Return the role's name alone: the server counts nothing."""
        return {"role": "server"}

    @property
    def address(self) -> str:
        """The HTTP address (host:port) of the page."""
        return f"{self.settings.host}:{self.page.port}"

    async def run(self) -> None:
        """Serve until stopped."""
        stop = stop_event()
        self.poller.start()
        self.reasons.start()
        self.feed.start()
        self.outlook_feed.start()
        self.watchdog.start()
        say_ready("server", self.address)
        await stop.wait()
        await asyncio.get_running_loop().run_in_executor(None, self._stop)

    def _stop(self) -> None:
        self.watchdog.stop()
        self.page.stop()
        self.feed.stop()
        self.outlook_feed.stop()
        self.poller.stop()
        self.reasons.stop()


def open_decision_feed(bootstrap: Kafka, board: Board, config: Config, **more: Any) -> DecisionFeed:
    """Return a feed of the newest decisions to `board`, with the messages of the policies in force here."""
    messages = {policy.name: policy.message for policy in config.policies}
    layouts = Layouts(bootstrap, config.layout)

    def models(layout_id: int) -> list[str]:
        layout = layouts.get(layout_id)
        return list(layout.models) if layout is not None else []

    return DecisionFeed(bootstrap, board, messages=messages, models=models, **more)


def _add_health(app: FastAPI, status: Callable[[], RoleStatus]) -> None:
    metrics = RoleMetrics("server")
    metrics.follow(status)
    began = time.monotonic()

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response("ready\n", media_type="text/plain")

    @app.get("/status")
    async def told() -> Response:
        return Response(
            orjson.dumps({**status(), "up_s": time.monotonic() - began}), media_type="application/json"
        )

    @app.get("/metrics")
    async def scraped() -> Response:
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _hosts(settings: Settings) -> list[str]:
    """Return the host names that requests for the page may use: this machine's, and the one in the settings."""
    own = [name.rpartition(":")[0] for role, name in settings.role_addresses.items() if role == "server"]
    return sorted({*LOOPBACK_NAMES, settings.host, *own} - {"0.0.0.0", "::"})


def _customer_reader(settings: Settings, config: Config) -> ReadCustomer:
    """Return a reader of customers' views: from Redis, or from the workers where they keep the views in memory."""
    if settings.redis.startswith("memory"):
        workers = [address for role, address in settings.role_addresses.items() if role.startswith("worker")]
        return lambda key: _ask(workers, key)
    return view_reader(RedisViews(settings.redis), Layouts(settings.access, config.layout))


def _ask(addresses: list[str], key: bytes) -> Mapping[str, Any] | None:
    """Return the answer of the first role that knows the customer, or None if no role does.

    Raises `Retryable` if a role that may know the customer does not answer.
    """
    away = ""
    for address in addresses:
        try:
            status, body = _get(address, f"/customers/{quote(key, safe='')}")
        except (OSError, http.client.HTTPException) as error:
            away = f"the role at {address} does not answer: {error}"
            continue
        if status == 200:
            found = orjson.loads(body)
            return found if isinstance(found, dict) else None
        if status != 404:
            away = f"the role at {address} answered {status}"
    if away:
        raise Retryable(away)
    return None


def _get(address: str, path: str) -> tuple[int, bytes]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(ANSWER_MAX_BYTES)
    finally:
        connection.close()
