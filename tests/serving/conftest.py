"""The real stores that the serving tests stand on, each on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from bench.servers import PostgresServer, RedisServer
from bench.servers.postgres import BINARIES

PATIENCE_S = 10.0


def needed(there: bool, what: str) -> None:
    """Skip without `what` on a laptop; CI has it all, so there its absence fails."""
    if not there and os.environ.get("CI") != "true":
        pytest.skip(f"{what} missing")
    assert there, f"{what} missing, and CI=true needs it"


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    needed(bool(BINARIES), "PostgreSQL")
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    needed(shutil.which("redis-server") is not None, "redis-server")
    with RedisServer() as server:
        yield server


@pytest.fixture
def stoppable_redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, on the same port whenever it is started; not running yet."""
    needed(shutil.which("redis-server") is not None, "redis-server")
    server = RedisServer()
    yield server
    server.stop()


Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def until() -> Until:
    """Wait for what another thread does."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    return wait
