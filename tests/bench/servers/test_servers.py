"""The real servers that the broker tests and the benches stand on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.servers import KafkaServer, PostgresServer, RedisServer, ServerError, kafka, postgres, process
from bench.servers import __main__ as command
from cli.bench import BENCHES
from cli.run import main
from streams.errors import Fatal


def needs(*programs: str) -> None:
    """Skip where a program is missing on a laptop; CI has them all, so there it fails."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"


def test_kafka_keeps_a_message_until_it_is_read_and_leaves_nothing_behind() -> None:
    needs("java", "mvn")
    with KafkaServer(properties={"num.partitions": "3"}) as kafka:
        topic = f"test-{uuid.uuid4().hex}"
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        producer.produce(topic, key=b"k", value=b"v")
        assert producer.flush(10) == 0
        settings = {"bootstrap.servers": kafka.bootstrap, "group.id": topic}
        consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
        consumer.subscribe([topic])
        message = consumer.poll(20)
        consumer.close()
        data_dir = kafka.data_dir
    assert message is not None
    assert (message.key(), message.value()) == (b"k", b"v")
    assert not data_dir.exists()


def test_a_broker_in_the_background_is_ended_by_its_pid_file(tmp_path: Path) -> None:
    needs("java", "mvn")
    pid_file = tmp_path / "broker.pid"
    port = process.free_ports(1)[0]
    assert command.start(port, pid_file) == f"kafka is up at 127.0.0.1:{port}"
    try:
        with pytest.raises(ServerError, match="already running"):
            command.start(port, pid_file)
    finally:
        assert "is stopped" in command.stop(pid_file)
    assert command.stop(pid_file) == "kafka is not running"


def test_no_port_is_given_twice() -> None:
    ask = "from bench.servers.process import free_ports; print(*(free_ports(1)[0] for _ in range(300)))"
    asked = [
        subprocess.Popen([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    given = [port for one in asked for port in one.communicate()[0].split()]
    assert len(set(given)) == len(given) == 900


def test_redis_answers_while_it_runs() -> None:
    needs("redis-server")
    with RedisServer() as redis:
        assert redis.answers()
    assert not redis.answers()


def test_a_missing_program_names_the_package_it_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerError, match="apt-get install redis-server"):
        RedisServer().start()


def test_a_port_in_use_is_named() -> None:
    needs("redis-server")
    with RedisServer() as redis, pytest.raises(ServerError, match=f"port {redis.port} is in use"):
        RedisServer(redis.port).start()


def fake(folder: Path, name: str, script: str) -> Path:
    """A program that does as `script` says."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


FORMATS = (
    'case "$*" in *StorageTool*) exit 0;; esac\n'  # Kafka's data directory; the broker is the second run
)
MAKES = (
    'while [ "$1" != -D ]; do shift; done; mkdir -p "$2"'  # what initdb and the server itself are called with
)


class Installed(NamedTuple):
    """A server whose programs are `folder`'s."""

    server: Callable[[], process.Server]
    program: str
    before: str  # what its program does before it fails
    folder: Path


@pytest.fixture(params=["kafka", "redis", "postgresql"])
def installed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Each server, its programs yet to be made."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    if request.param == "kafka":
        (tmp_path / "kafka" / "libs").mkdir(parents=True)
        monkeypatch.setattr(kafka, "KAFKA_HOME", tmp_path / "kafka")
        return Installed(KafkaServer, "java", FORMATS, programs)
    if request.param == "redis":
        return Installed(RedisServer, "redis-server", "", programs)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(postgres, "BINARIES", [programs / "postgres"])
    fake(programs, "initdb", MAKES)
    fake(programs, "pg_isready", "exit 1")
    return Installed(PostgresServer, "postgres", "", programs)


def failure(installed: Installed) -> str:
    """The one line of a server that does not start; nothing of it is left."""
    server = installed.server()
    with pytest.raises(ServerError) as caught:
        server.start()
    assert server._process is None
    assert server._data_dir is None
    assert isinstance(caught.value, Fatal)  # which the command line turns into a line and status 1
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_server_that_ends_at_once_says_why_and_what_to_do(installed: Installed) -> None:
    trace = "echo starting; echo 'ERROR no memory left'; echo '  at the.innermost.Frame(1)'; exit 1"
    fake(installed.folder, installed.program, installed.before + trace)
    line = failure(installed)
    assert line.endswith("ended at once: ERROR no memory left: mend that and start again")


def test_a_server_that_never_answers_says_what_it_printed(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_TIMEOUT_S", 0.3)
    fake(installed.folder, installed.program, installed.before + "echo waiting; exec sleep 60")
    assert re.search(r"did not answer at 127.0.0.1:\d+ in 0 s, and says: .*start again$", failure(installed))


def test_a_server_that_may_not_be_run_is_named(installed: Installed) -> None:
    fake(installed.folder, installed.program, "").write_bytes(b"\x7fELF is none")
    assert re.search(r"(cannot be started|failed): .*Exec format error: mend that", failure(installed))


def test_what_makes_a_data_directory_says_why_it_cannot(installed: Installed) -> None:
    if installed.program == "redis-server":
        return  # it has none to make
    name = {"java": "java", "postgres": "initdb"}[installed.program]
    fake(installed.folder, name, "echo 'initdb: error: no space left' >&2; exit 1")
    assert failure(installed).endswith("failed: initdb: error: no space left: mend that and start again")


@pytest.mark.parametrize("name", [name for name in BENCHES if name != "models"])  # which has no server
def test_a_bench_without_its_server_ends_with_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        main(["bench", name])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (1, "")
    assert re.search(
        r"^(streamwise|error): java is missing: install it with `apt-get install openjdk", said.err, re.M
    )
    assert "Traceback" not in said.err


def test_a_bench_that_cannot_go_on_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*given: object) -> dict[str, object]:
        raise RuntimeError("the topics were not filled in time")

    monkeypatch.setattr("bench.product.run", run)
    with pytest.raises(SystemExit) as ended:
        main(["bench", "product"])
    told = "streamwise: the bench product could not be carried out: the topics were not filled in time\n"
    assert (ended.value.code, capsys.readouterr().err) == (1, told)
