"""What every role has: an event loop, its HTTP port, a clean stop on SIGINT and SIGTERM, one line when it fails."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from serving.monitoring import RoleMetrics, RoleServer, RoleStatus
from streams.errors import StreamwiseError
from streams.supervision import end_process
from streams.transport import App

READY_LINE = "ready"  # what a role prints when it takes events: `streamwise up` and tests wait for it


def set_up_logging(level: int = logging.WARNING) -> None:
    """Plain lines on standard error."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


class HttpPort:
    """A role's /metrics, /healthz, /readyz and /status."""

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
        """Serve."""
        self.server.start()
        return self

    def stop(self) -> None:
        """Stop serving."""
        self.server.stop()


async def run_app(app: App, *, on_started: Callable[[], None] | None = None) -> None:
    """Run a Faust app until it stops or a signal asks it to."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await app.start()
    if on_started is not None:
        on_started()
    crashed = asyncio.ensure_future(app.wait_until_stopped())
    asked = asyncio.ensure_future(stop.wait())
    await asyncio.wait({crashed, asked}, return_when=asyncio.FIRST_COMPLETED)
    if app.crash_reason is not None:  # a clean stop would wait for what has crashed
        end_process(_line(app.crash_reason))
    asked.cancel()
    await app.stop()
    crashed.cancel()
    if app.crash_reason is not None:
        raise app.crash_reason


def _line(error: BaseException) -> str:
    """Why a role ends."""
    if isinstance(error, StreamwiseError):
        return str(error)
    if isinstance(
        error, KafkaError
    ):  # what Faust's consumer does not try again, such as a permission taken away
        return f"the Kafka broker refuses to go on: {error}"
    return f"{type(error).__name__}: {error}"


def run_role(main: Callable[[], Any]) -> int:
    """Run `main()` (a coroutine function) to its end; returns the exit status."""
    try:
        asyncio.run(main())
    except (StreamwiseError, KafkaError) as error:
        sys.stderr.write(f"streamwise: {_line(error)}\n")
        return 1
    return 0
