"""Runs `streamwise demo`: starts the broker and the roles, replays, shows a screen, and returns a summary."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from agents.processes import Supervisor
from agents.topology import topics
from config.kafka import OPEN
from config.settings import Settings, load_settings
from ingest.open_source import source
from operations.kernels import fill_cache
from pipeline.config import load_config
from streams.kafka import PARTITIONS, EmbeddedBroker

from .accounting import Demo, second_half_ms
from .screen import screen

DEMO_COMMIT_INTERVAL_S = (
    1.0  # a year passes in a minute, and workers adopt what the learner learned only at a commit cycle
)

SOURCE = "complete-journey"
ROLES = ("worker", "learner", "ledger", "server")


def run_demo(
    settings: Settings, *, limit: int | None, browser: bool, keep: bool, console: Console
) -> dict[str, Any]:
    """Run the demo; return its summary. `keep`: keep the page up until Ctrl-C, and keep the state folder."""
    began = time.monotonic()
    config = load_config(settings.config)
    journey = source(SOURCE)
    start_ms, end_ms = second_half_ms(journey, limit)
    console.print("compiling kernels (a minute, the first time) …", highlight=False)
    # before the roles: each would compile them for itself
    fill_cache(settings.config, lambda done, count: console.print(f"  {done} of {count}", highlight=False))
    sources = {each.topic for each in config.features.sources}
    with _stop_on_signals() as stop, _state(keep) as folder, EmbeddedBroker() as broker:
        own = load_settings(
            kafka=broker.bootstrap, partitions=PARTITIONS, replication=1, standbys=0, redis="memory://", ledger="",
            config=settings.config, state=folder, host=settings.host, server_port=_free(settings), **OPEN,
            commit_interval=DEMO_COMMIT_INTERVAL_S,
        )  # fmt: skip
        broker.make_topics(topics(sorted(sources)))
        period = ["--figures-from", str(start_ms), "--figures-to", str(end_ms)]
        with Supervisor(own, free_ports=True, learner=period, names=ROLES) as roles:
            console.print("starting the roles …", highlight=False)
            if not roles.start(stop, told=lambda role: console.print(f"  {role} is ready", highlight=False)):
                return {"complete": False}
            demo = Demo(own, config, journey, roles, limit=limit)
            demo.stop = stop
            demo.begun(began)
            _run(demo, roles, browser, keep, console)
            return {**demo.summary(), "ledger": own.ledger_url if keep else None}


def _run(demo: Demo, roles: Supervisor, browser: bool, keep: bool, console: Console) -> None:
    url = f"http://{roles.addresses['server']}"
    if browser:
        webbrowser.open(url)
    with screen(demo, url, console) if console.is_terminal else nullcontext():
        if not console.is_terminal:
            console.print(f"live page: {url}", highlight=False)
        demo.run()
    if keep and not demo.stop.is_set():
        console.print(f"the roles and the page keep running until Ctrl-C: {url}", highlight=False)
        demo.stop.wait()


def _free(settings: Settings) -> int:
    """Return the page's usual port if it is free, else 0 (any)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.server_port))
        except OSError:
            return 0
    return settings.server_port


@contextmanager
def _state(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="streamwise-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGINT or SIGTERM sets; a second signal interrupts at once."""
    stop = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, action in before.items():
            signal.signal(number, action)
