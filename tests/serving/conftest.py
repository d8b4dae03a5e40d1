"""The real stores that the serving tests stand on, each on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.servers import RedisServer
from bench.servers.process import HOST, Server

PATIENCE_S = 10.0
POSTGRESQL_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def needed(there: bool, what: str) -> None:
    """Skip without `what` on a laptop; CI has it all, so there its absence fails."""
    if not there and os.environ.get("CI") != "true":
        pytest.skip(f"{what} missing")
    assert there, f"{what} missing, and CI=true needs it"


class PostgresServer(Server):
    """One PostgreSQL that forgets; started as `postgres` by root, whom it refuses to serve."""

    name = "postgresql"

    @property
    def url(self) -> str:
        return f"postgresql://streamwise:secret@{self.address}/postgres"

    def _prepare(self, data_dir: Path) -> list[str]:
        bin_dir = POSTGRESQL_BINARIES[-1].parent
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        password = data_dir / "password"
        password.write_text("secret")
        if as_user:
            shutil.chown(data_dir, "postgres")
            shutil.chown(password, "postgres")
        tables = str(data_dir / "tables")
        make = [str(bin_dir / "initdb"), "-D", tables, "-U", "streamwise", "-A", "scram-sha-256"]
        make += ["--pwfile", str(password), "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        subprocess.run([*as_user, *make], check=True, capture_output=True, cwd=data_dir)
        run = [str(bin_dir / "postgres"), "-D", tables, "-p", str(self.port), "-h", HOST]
        return [*as_user, *run, "-k", str(data_dir), "-c", "fsync=off"]

    def answers(self) -> bool:
        ask = [str(POSTGRESQL_BINARIES[-1].parent / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(ask).returncode == 0


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    needed(bool(POSTGRESQL_BINARIES), "PostgreSQL")
    with PostgresServer(None, None) as server:
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
