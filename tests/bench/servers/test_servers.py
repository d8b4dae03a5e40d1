"""The real servers that the broker tests and the benches stand on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.servers import KafkaServer, RedisServer, ServerError, process
from bench.servers import __main__ as command


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
