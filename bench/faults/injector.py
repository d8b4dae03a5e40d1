"""Injects each kind of fault into an installation.

- Deliveries refused: the topic requires two in-sync replicas but has one (the producer retries), or accepts no record
  of this size (a permanent refusal: the role ends with an error until the topic accepts records again).
- Disk full: a file fills the file system of the state folders (`bench.faults.installation`).
- A kill between two steps of a commit: the injector kills the role and restarts it with a failpoint armed, which kills
  it again at the named step. A hanging worker likewise: its watchdog must end it.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from bench.servers import Server, ServerError

from .installation import PARTITIONS, Installation
from .load import Load, poisoned
from .progress import Progress
from .schedule import Fault

# A limit of 100 bytes refuses every batch but accepts a transaction marker (78 bytes): Kafka gives up on a refused
# marker, and then nobody can write or read past that transaction.
REFUSING = {"min.insync.replicas": "2", "max.message.bytes": "100"}
PATIENCE_S = 40.0
CHUNK = bytes(1 << 20)


class Injector:
    """Carries out a schedule beside the load, each fault in its own thread."""

    def __init__(
        self, installation: Installation, load: Load, progress: Progress, say: Callable[[str], None]
    ) -> None:
        self._on, self._load, self._progress, self._say = installation, load, progress, say
        self.counts: dict[str, int] = {}
        self.failed: list[str] = []
        self._threads: list[threading.Thread] = []
        self._one_at_a_time: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def run(self, faults: list[Fault]) -> None:
        """Carry out the faults at their times (seconds into the load), and wait until they are over."""
        for fault in faults:
            time.sleep(max(0.0, self._load.started_at + fault.at_s - time.monotonic()))
            if fault.kind == "disk_full" and self._on.disk is None:
                self._say("disk_full is left out: no file system can be mounted here")
                continue
            self._say(str(fault))
            self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
            self._progress.faults.append((time.monotonic(), fault.kind))
            thread = threading.Thread(target=self._guarded, args=(fault,), name=fault.kind, daemon=True)
            thread.start()
            self._threads.append(thread)
        for thread in self._threads:
            thread.join()
        if self.failed:
            raise RuntimeError(f"faults could not be carried out: {'; '.join(self.failed)}")

    def _guarded(self, fault: Fault) -> None:
        try:
            self._do(fault)
        except Exception as error:  # reported at the end, so that the other faults go on
            self.failed.append(f"{fault}: {type(error).__name__}: {error}")

    def _do(self, fault: Fault) -> None:
        first, _, rest = fault.kind.partition("_")
        if fault.kind in ("kill_in_commit", "worker_hangs"):
            role = self._on.roles[fault.target]
            role.failpoint = fault.detail
            role.send(signal.SIGKILL)
        elif first == "kill":
            self._on.roles[fault.target].send(signal.SIGKILL)
        elif first == "stop":
            self._on.roles[fault.target].send(signal.SIGSTOP)
            time.sleep(fault.lasts_s)
            self._on.roles[fault.target].send(signal.SIGCONT)
        elif first == "worker":
            self._membership(fault, rest)
        elif rest in ("restart", "kill"):
            self._server(fault, rest)
        elif fault.kind == "deliveries_refused":
            self._refuse(fault)
        elif fault.kind == "disk_full":
            self._fill(fault)
        elif fault.kind == "poison":
            self._load.inject(poisoned(random.Random(fault.at_s), PARTITIONS))
        else:
            self._load.burst()

    def _membership(self, fault: Fault, what: str) -> None:
        role = self._on.roles[fault.target]
        if what == "joins":
            role.start()
            time.sleep(fault.lasts_s)
            role.end(signal.Signals[fault.detail])
        else:
            role.end()
            time.sleep(fault.lasts_s)
            role.start()

    def _server(self, fault: Fault, how: str) -> None:
        server = {"broker": self._on.kafka, "redis": self._on.redis, "postgresql": self._on.postgresql}[
            fault.kind.partition("_")[0]
        ]
        with self._one_at_a_time[server.name]:  # its next fault may begin before it is up again
            self._interrupt(server, fault, how)

    def _interrupt(self, server: Server, fault: Fault, how: str) -> None:
        if how == "kill" or fault.detail == "killed":
            server.kill()
        else:
            server.stop()
        time.sleep(fault.lasts_s)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                server.start()
                return
            except ServerError:  # remains of the killed server may take a moment to end
                self._on.keep_logs()
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def _refuse(self, fault: Fault) -> None:
        topic, setting = fault.detail.split()
        self._alter(topic, setting, REFUSING[setting])
        time.sleep(fault.lasts_s)
        self._alter(topic, setting, None)

    def _alter(self, topic: str, setting: str, value: str | None) -> None:
        """Set or unset a setting of a topic; wait for the broker if it does not answer."""
        how = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        entry = ConfigEntry(setting, value, incremental_operation=how)
        until = time.monotonic() + PATIENCE_S
        while True:
            admin = AdminClient({"bootstrap.servers": self._on.kafka.bootstrap, "log_level": 0})
            asked = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
            try:
                admin.incremental_alter_configs([asked], request_timeout=5)[asked].result()
                return
            except KafkaException:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def _fill(self, fault: Fault) -> None:
        assert self._on.disk is not None
        filler = self._on.disk / "filler"
        with filler.open("wb", buffering=0) as file:
            until = time.monotonic() + fault.lasts_s
            while time.monotonic() < until:
                try:
                    if file.write(CHUNK) == len(CHUNK):
                        continue
                except OSError:  # full; take what others free meanwhile too
                    time.sleep(0.05)
        filler.unlink()
