"""The live page: what happens now, one customer, and the forecasts. It loads nothing from other sites."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.errors import Fatal, Retryable

from .board import Board, customer_path
from .event_stream import TICK_S, EventStream, Regions
from .forecasts import ForecastBoard
from .format import FILTERS

HERE = Path(__file__).parent
# Each name is that of a template and the id of an element on the page.
REGIONS = ("totals", "alerts", "offers", "models", "policies", "roles", "dead_letters")
# Against DNS rebinding: another site must not read this page under its own name, pointed at this machine.
LOOPBACK_NAMES = ("127.0.0.1", "localhost")
KEY_MAX_BYTES = 1024
CONNECTIONS_MAX = 1000
STOP_TIMEOUT_S = 5.0
DATE_S = 1.0  # precision of the Date header

# Returns the view values of a customer by name, or None; may raise Retryable.
ReadCustomer = Callable[[bytes], Mapping[str, Any] | None]
# Returns the recommendations for a customer: {product, score}, best first.
ReadRecommended = Callable[[bytes], Sequence[Mapping[str, Any]]]

SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    # The URL holds a customer's key.
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def create_app(
    board: Board,
    customer: ReadCustomer | None = None,
    *,
    recommended: ReadRecommended = lambda key: (),
    outlooks: ForecastBoard | None = None,
    hosts: Sequence[str] = LOOPBACK_NAMES,
    looked: Callable[[], None] = lambda: None,
    tick_s: float = TICK_S,
) -> FastAPI:
    """Make the page over `board`. `hosts`: the host names that it answers to ("*": any).

    It calls `looked()` when somebody opens it. Close its EventStream, `app.state.feed`, before you stop the server.
    """
    templates = _templates()
    feed = EventStream(lambda: _regions(templates, board), tick_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = app.state.ticking = asyncio.create_task(feed.run())
        yield
        task.cancel()
        await asyncio.wait([task])

    app = FastAPI(title="Streamwise", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.feed = feed
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(_SecurityHeaders)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    _add_live(app, templates, board, feed, looked)
    if customer is not None:
        _add_customers(app, templates, board, customer, recommended)
    if outlooks is not None:
        _add_forecasts(app, templates, outlooks)
    return app


class Page:
    """Serves the page with uvicorn in a daemon thread; port 0 takes a free port."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._app = app
        self._socket = _listen(host, port)
        self.port = int(self._socket.getsockname()[1])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> Page:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the streams, which never end by themselves, then the server."""
        if self._thread.ident is not None:
            self._server.should_exit = True
            if self._loop is not None and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._app.state.feed.close)
                self._loop.call_soon_threadsafe(self._server.woken.set)
            self._thread.join(STOP_TIMEOUT_S)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])


class _Server(uvicorn.Server):
    """Waits for `woken` to end; uvicorn's own server checks ten times a second instead."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.woken = asyncio.Event()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # updates the Date header
            with suppress(TimeoutError):
                await asyncio.wait_for(self.woken.wait(), DATE_S)


def run_page(app: FastAPI, host: str, port: int) -> Page:
    """Serve `app` in a thread; the caller stops it."""
    return Page(app, host, port).start()


def _templates() -> Environment:
    """Load the templates. They escape everything, as keys, messages and reasons come from outside."""
    loader = FileSystemLoader(HERE / "templates")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters.update(FILTERS)
    return templates


def _regions(templates: Environment, board: Board) -> Regions:
    shown = board.snapshot()
    return {name: templates.get_template(f"{name}.html").render(shown) for name in REGIONS}


def _add_live(
    app: FastAPI, templates: Environment, board: Board, feed: EventStream, looked: Callable[[], None]
) -> None:
    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        looked()
        paths = {getattr(route, "path", "") for route in app.routes}
        shown = board.snapshot()
        return templates.get_template("page.html").render(
            shown, look_up="/customers" in paths, forecasts="/forecasts" in paths
        )

    @app.get("/events")
    async def events() -> Response:
        if feed.full or feed.closed:
            return PlainTextResponse("too many pages are open\n", 503)
        looked()
        return StreamingResponse(feed.stream(), media_type="text/event-stream")

    @app.get("/healthz")
    async def healthz() -> Response:
        if app.state.ticking.done():
            return PlainTextResponse("the page no longer updates\n", 503)
        return PlainTextResponse("live\n")


def _add_forecasts(app: FastAPI, templates: Environment, outlooks: ForecastBoard) -> None:
    @app.get("/forecasts", response_class=HTMLResponse)
    def forecasts() -> str:
        return templates.get_template("forecasts.html").render(outlooks.snapshot())

    @app.get("/forecasts.json")
    def as_json() -> Response:
        return Response(orjson.dumps(outlooks.snapshot()), media_type="application/json")


def _add_customers(
    app: FastAPI, templates: Environment, board: Board, read: ReadCustomer, recommended: ReadRecommended
) -> None:
    def show(key: bytes) -> Response:
        error, view, status = "", None, 200
        if len(key) > KEY_MAX_BYTES:
            error, status = f"A customer key has at most {KEY_MAX_BYTES} bytes.", 400
        else:
            try:
                view = read(key)
            except Retryable as away:
                error, status = str(away), 503
        if view is None and not error:
            error, status = "No such customer.", 404
        html = templates.get_template("customer.html").render(
            customer=key.decode("utf-8", "backslashreplace"),
            error=error,
            views=list((view or {}).items()),
            recommended=recommended(key) if view is not None else [],
            decisions=board.decisions_of(key),
        )
        return HTMLResponse(html, status)

    @app.get("/customers")
    def look_up(request: Request, key: str = "") -> Response:
        """Answer the look-up form: redirect to the customer's path, or show a key that no path can hold."""
        raw = key.encode("utf-8", "surrogatepass")
        path = customer_path(raw)
        return show(raw) if path.startswith("/customers?") else RedirectResponse(path, 303)

    @app.get("/customers/{key:path}")
    def customer(request: Request) -> Response:
        """Show a customer. It takes the raw path, as the framework's decoding loses bytes that are not UTF-8."""
        raw: bytes = request.scope["raw_path"].partition(b"?")[0]
        return show(unquote_to_bytes(raw.removeprefix(b"/customers/")))


class _SecurityHeaders:
    """Adds the security headers to each response, streams included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *SECURITY_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # only this takes the port: until then a second socket may bind too
    except OSError as error:
        listening.close()
        raise Fatal(
            f"cannot listen on {host}:{port} ({error.strerror}): "
            "stop the program that listens there, or choose another port"
        ) from error
    return listening
