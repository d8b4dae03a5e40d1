"""The small HTTP server of each role: metrics, health, status and the view of one customer.

It uses only the standard library, so that the worker needs no web framework. Requests are few; a
thread of its own answers each.
"""

from __future__ import annotations

import selectors
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streams.errors import Fatal, Retryable

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
CUSTOMERS = "/customers/"
# A client that sends nothing loses its thread after this.
REQUEST_TIMEOUT_S = 5.0
REQUESTS_MAX = 64  # at the same time, each in a thread

Answer = tuple[HTTPStatus, str, bytes]


class RoleServer:
    """Answers on `host:port` in a daemon thread from `start` to `stop`; port 0 takes a free port.

    The callables run in other threads than the role's own, so they should only read.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        live: Callable[[], tuple[bool, str]],
        ready: Callable[[], tuple[bool, str]],
        status: Callable[[], Mapping[str, Any]],
        customer: Callable[[bytes], Mapping[str, Any] | None] | None = None,
    ) -> None:
        self._registry, self._live, self._ready = registry, live, ready
        self._status, self._customer = status, customer
        try:
            self._server = _Server((host, port), _handler(self._answer))
        except OSError as error:
            raise Fatal(
                f"cannot listen on {host}:{port} ({error.strerror}): stop the program that listens there, "
                "or choose another port"
            ) from error
        self._stopping, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> RoleServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.close()  # the other end becomes readable
        if self._thread.ident is not None:
            self._thread.join()
        self._stopped.close()
        self._server.server_close()

    def _serve(self) -> None:
        """Sleep until a request arrives or `stop` is called."""
        with selectors.DefaultSelector() as selector:
            for each in (self._server.socket, self._stopped):
                selector.register(each, selectors.EVENT_READ)
            while all(key.fileobj is not self._stopped for key, _ in selector.select()):
                self._server.handle_request()

    def _answer(self, target: str) -> Answer:
        path = target.partition("?")[0]
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/healthz":
            live, reason = self._live()
            return _plain(live, "live", reason or "not live")
        if path == "/readyz":
            ready, reason = self._ready()
            return _plain(ready, "ready", reason or "not ready")
        if path == "/status":
            return HTTPStatus.OK, JSON, _json(self._status())
        if path.startswith(CUSTOMERS) and self._customer is not None:
            return self._answer_customer(self._customer, unquote_to_bytes(path[len(CUSTOMERS) :]))
        return _error(HTTPStatus.NOT_FOUND, "no such page")

    def _answer_customer(self, read: Callable[[bytes], Mapping[str, Any] | None], key: bytes) -> Answer:
        try:
            view = read(key)
        except Retryable as error:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        if view is None:
            return _error(HTTPStatus.NOT_FOUND, "no such customer")
        return HTTPStatus.OK, JSON, _json(view)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    timeout = 0  # `handle_request` must not wait: it is called when a request is there

    def __init__(self, *given: Any) -> None:
        self._free = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle the request in a thread if one is free; else close the connection at once."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def server_bind(self) -> None:
        """Bind without the reverse DNS look-up that HTTPServer does: a slow resolver would block the start."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless the client closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(answer: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = "streamwise"
        sys_version = ""

        def do_GET(self) -> None:
            body = self._send_head()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self._send_head()

        def _send_head(self) -> bytes:
            code, kind, body = answer(self.path)
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            return body

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: health checks and scrapes are routine."""

    return Handler


def _plain(good: bool, yes: str, no: str) -> Answer:
    code = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return code, TEXT, f"{yes if good else no}\n".encode()


def _error(code: HTTPStatus, reason: str) -> Answer:
    return code, JSON, _json({"error": reason})


def _json(value: Mapping[str, Any]) -> bytes:
    """Encode as JSON; NaN becomes null, bytes become text."""
    return orjson.dumps(value, default=_as_text, option=orjson.OPT_SERIALIZE_NUMPY)


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    raise TypeError(f"{type(value).__name__} has no JSON")
