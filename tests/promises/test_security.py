"""Promise: with TLS, passwords and ACLs on everything works, and what is refused is one line and status 1."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiokafka.conn as conn
import aiokafka.consumer.fetcher as fetcher
import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

import cli
from agents.processes.supervisor import RoleProcess, environment
from agents.runtime.preflight import prepare
from agents.topology.acls import ROLES, permissions
from bench.servers import PostgresServer, RedisServer
from bench.servers.postgres import BINARIES
from config.settings import Settings, load_settings
from serving.monitoring.role_poller import poll_roles
from serving.views.store import RedisViews
from streams.batches.record_batch import open_batch
from streams.batches.records import records
from streams.errors import Fatal, StreamwiseError
from streams.kafka.permissions import Operation, Permission, check
from streams.kafka.topic_admin import existing
from streams.transport.raw_records import install
from tests.doubles.certificates import authority, signed
from tests.doubles.secured import ADMIN, EXTRA, SecuredKafka, password

ROOT = Path(__file__).parents[2]
SOURCES = ["web.events", "social.events", "sales.events", "offer.outcomes"]
CUSTOMERS, ORDERS = 25, 12  # an order of each customer every five days
DAY_S = 86_400
PARTITIONS = 2
PATIENCE_S = 60.0
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
    ca = authority(folder, "ca")
    made = SecuredKafka(folder, signed(folder, "server", ca), signed(folder, "client", ca))
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
        [sys.executable, "-m", "cli", *arguments],
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
        for process in roles.values():
            process.check()
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
        for role in ("worker", "learner", "ledger", "analyst", "server"):
            chosen = settings(role, **stores)
            running[role] = RoleProcess(role, ["--verbose"], environment(chosen, True), chosen.state)
        for process in running.values():
            process.wait_ready()
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
                and status["learner"]["taken"] == sum(status["worker"]["examples"].values())
                and status["learner"]["models"]["purchase"]["version"] > 0
                and status["worker"]["models"]["purchase"]["version"] > 0
                and status["ledger"]["ledger_inserted"]
                == status["worker"]["offers"] + status["worker"]["alerts"]
                and status["worker"]["views_written"] >= CUSTOMERS
                and status["analyst"]["analysed"] == CUSTOMERS * ORDERS
                and status["analyst"]["series"] > 0
            )

        wait_for(arrived, running, status)
        examined = run(settings("worker", **stores), "doctor")
        assert examined.returncode == 0, examined.stdout
        assert "(sasl_ssl)" in examined.stdout
        said += [sent.stdout, sent.stderr, examined.stdout, examined.stderr, repr(status)]
    finally:
        for process in running.values():
            process.terminate()
        ends = {name: role.wait(15) for name, role in running.items()}
    said += [process.log.read_text() for process in running.values()]
    assert set(ends.values()) == {0}, said
    assert status["worker"]["dead_letters"] == {}
    views = RedisViews(stores["redis"])
    assert views.read(b"c0")
    views.close()
    secrets = [*map(password, ROLES), "secret"]
    assert [secret for secret in secrets if any(secret in text for text in said)] == []


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refused:
    """Run a command that must end with status 1 and one line, without the user's password; returns the line."""

    def call(settings: Settings, *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        for name, value in environment(settings, True).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        captured = capsys.readouterr()
        assert ended.value.code == 1
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert settings.kafka_password not in line
        return line

    return call


@pytest.fixture
def topics(settings: Make) -> None:
    """Made by the user who may."""
    prepare(settings("topics"), "topics")


@pytest.mark.parametrize("command", [["topics"], ["ledger"], ["replay", "complete-journey"]], ids=str)
def test_a_wrong_password_is_one_line(settings: Make, refused: Refused, command: list[str]) -> None:
    line = refused(settings(command[0], kafka_password="another-word"), *command)
    assert "Authentication failed" in line
    assert line.endswith("check STREAMWISE_KAFKA_USER, its password and STREAMWISE_KAFKA_MECHANISM")


def test_a_broker_that_is_not_to_be_trusted_is_one_line(
    settings: Make, refused: Refused, folder: Path
) -> None:
    other, _ = authority(folder, "other")
    line = refused(settings("ledger", kafka_ca=str(other)), "ledger")
    assert "certificate verify failed" in line
    assert "check STREAMWISE_KAFKA_CA" in line


def test_a_client_without_a_certificate_is_one_line(settings: Make, refused: Refused) -> None:
    line = refused(settings("ledger", kafka_cert="", kafka_key=""), "ledger")
    assert "certificate" in line
    assert "STREAMWISE_KAFKA_CERT" in line


@pytest.mark.parametrize("security", ["sasl_plaintext", "plaintext"])
def test_another_protocol_than_the_brokers_is_one_line(kafka: SecuredKafka, security: str) -> None:
    with pytest.raises(StreamwiseError, match=f"does not take {security}: set STREAMWISE_KAFKA_SECURITY"):
        existing(replace(kafka.access("ledger"), security=security), timeout_s=2.0)


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize(
    ("role", "lacking"),
    [
        ("worker", Permission("topic", "alerts", Operation.WRITE)),
        ("learner", Permission("topic", "training.examples", Operation.READ)),
        ("ledger", Permission("topic", "web.events", Operation.DESCRIBE)),
        ("ledger", Permission("group", "streamwise-ledger", Operation.READ)),
        ("server", Permission("group", "streamwise-decisions", Operation.DESCRIBE)),
        ("replay", Permission("topic", "sales.events", Operation.WRITE)),
    ],
    ids=str,
)
def test_a_missing_acl_is_one_line(
    kafka: SecuredKafka, settings: Make, refused: Refused, role: str, lacking: Permission
) -> None:
    kafka.take_back(role, lacking)
    try:
        command = ["replay", "complete-journey"] if role == "replay" else [role]
        line = refused(settings(role), *command)
    finally:
        kafka.allow(role, [lacking])
    advice = "`streamwise topics --acls` prints what adds it"
    assert line == f"streamwise: {kafka.addresses}: {role} lacks {lacking}; {advice}"


@pytest.mark.usefixtures("topics")
def test_all_that_a_user_may_not_do_is_listed(kafka: SecuredKafka) -> None:
    wanted = permissions("ledger", SOURCES)
    with pytest.raises(Fatal) as raised:
        check(kafka.access(EXTRA), wanted)
    assert [each for each in wanted if str(each) not in str(raised.value)] == []
    check(kafka.access("ledger"), wanted)


@pytest.mark.usefixtures("topics")
def test_a_permission_that_is_taken_away_ends_the_role_with_a_line(
    kafka: SecuredKafka, settings: Make
) -> None:
    chosen = settings("ledger")
    role = RoleProcess("ledger", [], environment(chosen, True), chosen.state)
    group = Permission("group", "streamwise-ledger", Operation.READ)
    role.wait_ready()
    kafka.take_back("ledger", group)
    try:
        assert role.wait(30) == 1
    finally:
        kafka.allow("ledger", [group])
    last = role.log.read_text().splitlines()[-1]
    assert last.startswith("streamwise: the Kafka broker refuses to go on: ")
    assert "GroupAuthorizationFailedError: streamwise-ledger" in last


def test_large_responses_come_whole_through_tls(kafka: SecuredKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """`streams.transport.frames` under asyncio's TLS: 13 MB of noise in fetches of some megabytes."""
    for module, name in (
        (conn, "AIOKafkaProtocol"), (conn, "AIOKafkaConnection"), (fetcher, "PartitionRecords"),
        (fetcher, "MemoryRecords"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name))  # as it was, after the test
    install()
    kafka.make_topic("noise")
    noise = random.Random(5)
    values = [noise.randbytes(800_000 + number) for number in range(16)]
    producer = Producer({**kafka.access(ADMIN).confluent(), "log_level": 0})
    for value in values:
        producer.produce("noise", value)
    assert producer.flush(30) == 0

    async def read() -> list[bytes | None]:
        consumer = AIOKafkaConsumer(
            "noise",
            bootstrap_servers=kafka.access(ADMIN).addresses,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
            **credentials_to_aiokafka_auth(kafka.access(ADMIN).faust()["broker_credentials"]),
        )
        await consumer.start()
        found: list[bytes | None] = []
        try:
            while len(found) < len(values):
                for batches in (await asyncio.wait_for(consumer.getmany(timeout_ms=1000), 30)).values():
                    for batch in batches:
                        open_batch(batch)
                        found += [value for _, _, value in records(batch)]
        finally:
            await consumer.stop()
        return found

    assert asyncio.run(read()) == values
