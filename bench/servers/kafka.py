"""Runs one Kafka node (KRaft: broker and controller in one). Maven fetches its jars."""

from __future__ import annotations

import fcntl
import shutil
import socket
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .process import HOST, Server, free_ports, require, run_once

ROOT = Path(__file__).resolve().parents[2]
KAFKA_CONFIG = ROOT / "config" / "kafka"
KAFKA_HOME = ROOT / ".kafka"

# Any id will do for a cluster of one: 22 characters, the base64 of 16 bytes.
CLUSTER_ID = "c3RyZWFtd2lzZS1vbmUtbg"

MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 8 << 30

# The flags of Kafka's own start script, without those for its log files.
JVM_FLAGS = (
    "-server",
    "-Xms1g",
    "-Xmx1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


@dataclass(frozen=True)
class Locked:
    """Access control of a broker: the protocol of its listener, and its SCRAM-SHA-512 users with their passwords.

    `client`: the librdkafka settings with which the start-up check logs in.
    """

    protocol: str
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    client: Mapping[str, str] = field(default_factory=dict, repr=False)


class KafkaServer(Server):
    """One Kafka node; `properties` are appended to config/kafka/server.properties."""

    name = "kafka"

    def __init__(
        self,
        port: int | None = None,
        data_dir: Path | None = None,
        properties: Mapping[str, str] | None = None,
        locked: Locked | None = None,
    ) -> None:
        super().__init__(port, data_dir)
        self._properties = dict(properties or {})
        self._locked = locked or Locked("PLAINTEXT")
        self._scratch = _memory()

    @property
    def bootstrap(self) -> str:
        return self.address

    def _prepare(self, data_dir: Path) -> list[str]:
        java = require("java")
        kafka_run = [java, *JVM_FLAGS, "-cp", str(_kafka_jars() / "*")]
        config = data_dir / "server.properties"
        config.write_text(self._config(data_dir))
        # This leaves a formatted directory as it is.
        format_tool = [*kafka_run, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        scram = [f"SCRAM-SHA-512=[name={name},password={word}]" for name, word in self._locked.users.items()]
        users = [part for one in scram for part in ("--add-scram", one)]
        run_once(
            [*format_tool, "--cluster-id", CLUSTER_ID, "--config", str(config), *users],
            "formatting the Kafka data directory",
        )
        return [*kafka_run, "kafka.Kafka", str(config)]

    def _config(self, data_dir: Path) -> str:
        template = string.Template((KAFKA_CONFIG / "server.properties").read_text())
        text = template.substitute(
            protocol=self._locked.protocol,
            broker_port=self.port,
            controller_port=free_ports(1)[0],
            log_dir=data_dir / "log",
        )
        return text + "".join(f"{key}={value}\n" for key, value in self._properties.items())

    def answers(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self.port)) != 0:
                return False
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, **self._locked.client})
        try:
            return bool(client.list_topics(timeout=5).brokers)
        except KafkaException:
            return False


def _memory() -> Path | None:
    """A folder in memory for a temporary log: writing it to the disk would compete with the measured work."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < MEMORY_NEEDED_BYTES:
        return None
    return MEMORY


def _kafka_jars() -> Path:
    """The directory of the broker's jars; Maven fetches them the first time."""
    jars = KAFKA_HOME / "libs"
    KAFKA_HOME.mkdir(exist_ok=True)
    # Two test runs that start together must not copy into the same directory.
    with (KAFKA_HOME / "libs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            part = KAFKA_HOME / "libs.part"
            shutil.rmtree(part, ignore_errors=True)
            maven = [require("mvn"), "-q", "-B", "-f", str(KAFKA_CONFIG / "pom.xml")]
            run_once(
                [*maven, "dependency:copy-dependencies", f"-DoutputDirectory={part}"],
                "fetching Kafka with Maven",
            )
            part.rename(jars)
    return jars
