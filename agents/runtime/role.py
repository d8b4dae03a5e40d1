"""What every role has: an event loop, its HTTP port, a clean stop on SIGINT and SIGTERM, one line when it fails."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from serving.monitoring import RoleMetrics, RoleServer, RoleStatus
from streams.errors import StreamwiseError
from streams.supervision import end_process
from streams.transport import App


def set_up_logging(level: int = logging.WARNING, *, shared: bool = False) -> None:
    """Log plain lines to standard error. `shared`: each names its thread, which has the name of its role."""
    place = "%(threadName)s %(name)s" if shared else "%(name)s"
    logging.basicConfig(
        level=level, stream=sys.stderr, format=f"%(asctime)s %(levelname)s {place}: %(message)s"
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


class HttpPort:
    """The HTTP port of a role: /metrics, /healthz, /readyz, /status, and /customers where it answers for them."""

    def __init__(
        self,
        role: str,
        host: str,
        port: int,
        status: Callable[[], RoleStatus],
        ready: Callable[[], tuple[bool, str]],
        customer: Callable[[bytes], Mapping[str, Any] | None] | None = None,
        live: Callable[[], tuple[bool, str]] = lambda: (True, ""),
    ) -> None:
        self.metrics = RoleMetrics(role)
        self.metrics.follow(status)
        self.server = RoleServer(host, port, self.metrics.registry, live, ready, status, customer)

    def start(self) -> HttpPort:
        """Begin to serve."""
        self.server.start()
        return self

    def stop(self) -> None:
        """Stop serving."""
        self.server.stop()


_asked = threading.Event()
_waiting: dict[threading.Thread, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}


def stop_event() -> asyncio.Event:
    """Return an event that asks this role to stop: signals set it in the main thread, `stop_all` in any other."""
    loop, stop, thread = asyncio.get_running_loop(), asyncio.Event(), threading.current_thread()
    if thread is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return stop
    _waiting[thread] = loop, stop
    if _asked.is_set():
        stop.set()
    return stop


def stop_all() -> list[threading.Thread]:
    """Ask all roles outside the main thread to stop; return the threads of those that have called `stop_event`."""
    _asked.set()
    waiting = dict(_waiting)
    for loop, stop in waiting.values():
        with suppress(RuntimeError):  # its loop has ended
            loop.call_soon_threadsafe(stop.set)
    return list(waiting)


async def run_app(app: App, *, on_started: Callable[[], None] | None = None) -> None:
    """Run a Faust app until it crashes or `stop_event` is set."""
    stop = stop_event()
    await app.start()
    if on_started is not None:
        on_started()
    crashed = asyncio.ensure_future(app.wait_until_stopped())
    asked = asyncio.ensure_future(stop.wait())
    await asyncio.wait({crashed, asked}, return_when=asyncio.FIRST_COMPLETED)
    if app.crash_reason is not None:  # a clean stop would wait for the part that crashed
        end_process(line_of(app.crash_reason))
    asked.cancel()
    await app.stop()
    crashed.cancel()
    if app.crash_reason is not None:
        raise app.crash_reason


def line_of(error: BaseException) -> str:
    """Return the line that says why a role ends."""
    if isinstance(error, StreamwiseError):
        return str(error)
    if isinstance(error, KafkaError):  # Faust's consumer does not retry it; such as a revoked permission
        return f"the Kafka broker refuses to go on: {error}"
    return f"{type(error).__name__}: {error}"


def run_role(main: Callable[[], Any]) -> int:
    """Run `main()` (a coroutine function) to its end and return the exit status."""
    try:
        asyncio.run(main())
    except (StreamwiseError, KafkaError) as error:
        sys.stderr.write(f"streamwise: {line_of(error)}\n")
        return 1
    return 0
