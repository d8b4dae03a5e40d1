"""Promise: with TLS, passwords and ACLs on everything works, and what is refused is one line and status 1."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agents.acls import ROLES
from agents.together import RoleProcess, environment
from bench.servers import PostgresServer, RedisServer
from bench.servers.postgres import BINARIES
from config.settings import Settings, load_settings
from serving.roles import poll_roles
from serving.views import RedisViews
from tests.doubles.certificates import authority, signed
from tests.doubles.secured import SecuredKafka, password

ROOT = Path(__file__).parents[1]
SOURCES = ["web.events", "social.events", "sales.events"]
CUSTOMERS, ORDERS = 25, 12  # an order of each customer every five days
DAY_S = 86_400
PARTITIONS = 2
PATIENCE_S = 40.0
ORDERS_MAPPING = """topic: sales.events
customer: who
time: {column: at, unit: s}
kind: order
message_id: id
fields: {order_id: id, amount: total}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def kafka(folder: Path) -> Iterator[SecuredKafka]:
    missing = [name for name in ("java", "mvn", "openssl") if shutil.which(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"
    made = SecuredKafka(folder, signed(folder, "server", authority(folder, "ca")))
    with made.server:
        made.allow_roles(SOURCES)
        yield made


@pytest.fixture(scope="module")
def stores(kafka: SecuredKafka) -> Iterator[dict[str, str]]:
    """Redis and PostgreSQL over TLS with passwords."""
    there = bool(BINARIES) and shutil.which("redis-server") is not None
    if not there and os.environ.get("CI") != "true":
        pytest.skip("redis-server or PostgreSQL missing")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tls=kafka.tls))
        postgres = stack.enter_context(PostgresServer(tls=kafka.tls))
        yield {"redis": redis.url, "ledger": postgres.url}


Make = Callable[..., Settings]


@pytest.fixture
def settings(kafka: SecuredKafka, tmp_path: Path) -> Make:
    """Settings of a role under its own user."""

    def make(user: str, **more: Any) -> Settings:
        ports = dict.fromkeys(("worker_port", "learner_port", "ledger_port", "server_port"), 0)
        given = {**kafka.settings(user), "partitions": PARTITIONS, "state": tmp_path / user, **ports, **more}
        return load_settings(**{"commit_interval": 0.5, **given})

    return make


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    env = {**os.environ, **environment(settings, True)}
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def orders(folder: Path) -> tuple[Path, Path]:
    """A file of orders that end in the past, and its mapping."""
    start_s = int(time.time()) - 200 * DAY_S
    lines = ["id,who,at,total"]
    for turn in range(ORDERS):
        for customer in range(CUSTOMERS):
            at_s = start_s + turn * 5 * DAY_S + customer
            lines.append(f"{turn}-{customer},c{customer},{at_s},{200 + turn}")
    file, mapping = folder / "orders.csv", folder / "orders.yaml"
    file.write_text("\n".join(lines) + "\n")
    mapping.write_text(ORDERS_MAPPING)
    return file, mapping


def wait_for(what: Callable[[], bool], roles: dict[str, RoleProcess], status: dict[str, Any]) -> None:
    until, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not what():
        for role in roles.values():
            role.check()
        assert time.monotonic() < until, str(status)
        pause.wait(0.1)


def test_events_reach_the_ledger_through_secured_servers(
    kafka: SecuredKafka, stores: dict[str, str], settings: Make, tmp_path: Path
) -> None:
    made = run(settings("topics"), "topics")
    assert made.returncode == 0, made.stderr
    running: dict[str, RoleProcess] = {}
    said: list[str] = [made.stdout, made.stderr]
    try:
        for role in ("worker", "learner", "ledger", "server"):
            chosen = settings(role, **stores)
            running[role] = RoleProcess(role, ["--verbose"], environment(chosen, True), chosen.state)
        for role in running.values():
            role.wait_ready()
        at = {role: process.address for role, process in running.items()}
        file, mapping = orders(tmp_path)
        replay = ["replay", str(file), "--mapping", str(mapping)]
        status: dict[str, Any] = {}

        def learned() -> bool:
            status.update({role: report["status"] for role, report in poll_roles(at).items()})
            return bool(status["learner"]["models"]["purchase"]["version"] > 0)

        sent = run(settings("replay"), *replay, "--limit", str(CUSTOMERS * ORDERS // 2))
        assert sent.returncode == 0, sent.stderr
        wait_for(learned, running, status)
        sent = run(settings("replay"), *replay)  # the rest: a worker takes a snapshot up while events come
        assert sent.returncode == 0, sent.stderr

        def arrived() -> bool:
            status.update({role: report["status"] for role, report in poll_roles(at).items()})
            return (
                status["worker"].get("events") == CUSTOMERS * ORDERS
                and status["worker"]["offers"] + status["worker"]["alerts"] >= CUSTOMERS
                and sum(status["worker"]["examples"].values()) > 0
                and status["learner"]["learned"] == sum(status["worker"]["examples"].values())
                and status["learner"]["models"]["purchase"]["version"] > 0
                and status["worker"]["models"]["purchase"]["version"] > 0
                and status["ledger"]["ledger_inserted"]
                == status["worker"]["offers"] + status["worker"]["alerts"]
                and status["worker"]["views_written"] >= CUSTOMERS
            )

        wait_for(arrived, running, status)
        examined = run(settings("worker", **stores), "doctor")
        assert examined.returncode == 0, examined.stdout
        assert "(sasl_ssl)" in examined.stdout
        said += [sent.stdout, sent.stderr, examined.stdout, examined.stderr, repr(status)]
    finally:
        for role in running.values():
            role.terminate()
        ends = {name: role.wait(15) for name, role in running.items()}
    said += [role.log.read_text() for role in running.values()]
    assert set(ends.values()) == {0}, said
    assert status["worker"]["dead_letters"] == {}
    views = RedisViews(stores["redis"])
    assert views.read(b"c0")
    views.close()
    secrets = [*map(password, ROLES), "secret"]
    assert [secret for secret in secrets if any(secret in text for text in said)] == []
