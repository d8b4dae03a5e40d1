"""Runs a whole installation on this machine: Kafka, Redis and PostgreSQL, two workers, a learner and two ledgers.

One ledger uses PostgreSQL; the other, `archive`, uses SQLite in its state folder. All state folders are on a small file
system in memory, so that it can become full. This needs the right to mount one (root on Linux); without it, that fault
is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import create_engine, select

from agents.learner import role as learner
from agents.ledger import role as ledger
from agents.topology import topics
from agents.worker import role as worker
from bench.product import remove_topics
from bench.servers import KafkaServer, PostgresServer, RedisServer, Server
from pipeline.config import load_config
from schemas.topics import CHANGELOG, DEAD_LETTERS, EXAMPLES, MODELS
from serving.ledger import BY_KIND
from streams.kafka import ensure

from .declared import write_config
from .roles import Role, Supervisor
from .schedule import EXTRA, WORKERS

PARTITIONS = 4
COMMIT_INTERVAL_S = 1.0
MEMORY = Path("/dev/shm")
DISK_BYTES = 192 << 20
ARCHIVE_GROUP = "streamwise-archive"
GROUPS: Mapping[str, tuple[str, ...]] = {  # the topics that each group must have read at the end
    worker.GROUP: ("web.events", "social.events", "sales.events"),
    learner.GROUP: (EXAMPLES,),
    ledger.GROUP: ("alerts", "offers", "offer.outcomes"),
    ARCHIVE_GROUP: ("alerts", "offers", "offer.outcomes"),
}
OUTPUTS = ("alerts", "offers", EXAMPLES, DEAD_LETTERS)
LOGGED = (*GROUPS[worker.GROUP], *OUTPUTS, CHANGELOG, MODELS)


class Installation:
    """Servers and roles, with a folder for their logs. `__enter__` starts the servers, `start_roles` the roles."""

    def __init__(
        self,
        logs: Path,
        *,
        roles: tuple[str, ...] = (),
        weakness: str = "",
        stall_s: float = 15.0,
        kafka: KafkaServer | None = None,
    ) -> None:
        """`roles`: those to run, all if empty; `weakness`: for each worker; `kafka`: a running broker to use."""
        self._logs = logs
        self._only = roles
        self._worker = ["worker", "--stall", str(stall_s), *(["--weakness", weakness] if weakness else [])]
        parent = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > (2 << 30) else None
        self.folder = Path(tempfile.mkdtemp(prefix="streamwise-faults-", dir=parent))
        self.folder.chmod(0o755)  # PostgreSQL runs as another user
        self.kafka = kafka or KafkaServer(data_dir=self.folder / "kafka")
        self.redis = RedisServer()
        self.postgresql = PostgresServer(data_dir=self.folder / "postgresql")
        self._own: list[Server] = [] if kafka else [self.kafka]
        if not roles:
            self._own += [self.redis, self.postgresql]
        self.config = load_config(write_config(self.folder / "config"))
        self.disk: Path | None = None
        self.roles: dict[str, Role] = {}
        self.supervisor = Supervisor({})

    def __enter__(self) -> Self:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            for server in self._own:
                server.start()
            if self.kafka not in self._own:
                remove_topics(self.kafka.bootstrap)
            ensure(
                self.kafka.bootstrap, topics(list(GROUPS[worker.GROUP])), partitions=PARTITIONS, replication=1
            )
            self._mount()
            self.roles = self._roles()
            self.supervisor = Supervisor(self.roles)
        except BaseException:
            self._end_servers()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_servers()

    def start_roles(self) -> None:
        """Start every role but the worker that joins later; wait until they are ready."""
        for name, role in self.roles.items():
            if name != EXTRA and (not self._only or name in self._only):
                role.start()
        self.supervisor.start()
        self.supervisor.wait_ready()

    def _roles(self) -> dict[str, Role]:
        common = {
            "STREAMWISE_KAFKA": self.kafka.bootstrap,
            "STREAMWISE_REDIS": self.redis.url if self.redis in self._own else "memory://",
            "STREAMWISE_CONFIG": str(self.folder / "config"), "STREAMWISE_PARTITIONS": str(PARTITIONS),
            "STREAMWISE_COMMIT_INTERVAL": str(COMMIT_INTERVAL_S), "STREAMWISE_WORKER_PORT": "0",
            "STREAMWISE_LEARNER_PORT": "0", "STREAMWISE_LEDGER_PORT": "0",
        }  # fmt: skip
        commands = {
            **dict.fromkeys((*WORKERS, EXTRA), self._worker),
            "learner": ["learner"],
            "ledger": ["ledger"],
            "archive": ["ledger", "--group", ARCHIVE_GROUP],
        }
        found = {}
        for name, command in commands.items():
            own = {"STREAMWISE_STATE": str((self.disk or self.folder / "state") / name)}
            if name == "ledger":
                own["STREAMWISE_LEDGER"] = self.postgresql.url
            found[name] = Role(name, command, {**common, **own}, self._logs / f"{name}.log")
        return found

    def _mount(self) -> None:
        disk = self.folder / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
        if (
            shutil.which("mount")
            and os.geteuid() == 0
            and subprocess.run(command, capture_output=True).returncode == 0
        ):
            self.disk = disk

    def keep_logs(self) -> None:
        """Copy the logs of the servers to the folder of logs."""
        for log in self.folder.glob("*/*.log"):
            shutil.copy(log, self._logs / log.name)

    def _end_servers(self) -> None:
        self.supervisor.kill()
        for server in self._own:
            server.kill()
            server.stop()
        if self.disk is not None:
            subprocess.run(["umount", str(self.disk)], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, name: str) -> dict[str, list[Mapping[str, Any]]]:
        """Return the rows of alerts and offers in a ledger, by topic."""
        url = self.postgresql.url.replace("postgresql:", "postgresql+psycopg:", 1)
        if name == "archive":
            url = f"sqlite:///{(self.disk or self.folder / 'state') / name / 'ledger.db'}"
        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                tables = {"alerts": BY_KIND["alert"], "offers": BY_KIND["offer"]}
                return {
                    topic: [dict(row) for row in connection.execute(select(table)).mappings()]
                    for topic, table in tables.items()
                }
        finally:
            engine.dispose()
