"""What backups are made of and restored to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench.servers import PostgresServer
from bench.servers.postgres import BINARIES


def needed(there: bool, what: str) -> None:
    """Skip without `what` on a laptop; CI has it all, so there its absence fails."""
    if not there and os.environ.get("CI") != "true":
        pytest.skip(f"{what} missing")
    assert there, f"{what} missing, and CI=true needs it"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """For servers and processes; what a real Kafka needs is there."""
    for program in ("java", "mvn"):
        needed(shutil.which(program) is not None, program)
    with ExitStack() as found:
        yield found


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    needed(bool(BINARIES), "PostgreSQL")
    with PostgresServer() as server:
        yield server.url
