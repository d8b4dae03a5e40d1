"""How each kind of fault is done to an installation.

- deliveries refused: the topic asks for two replicas in sync, of which there is one (the producer tries again), or
  takes no record of this size (refused for good: the role ends with its line until the topic takes them again);
- disk full: a file fills the file system of the state folders (`bench.faults.installation`);
- a kill between two steps of a commit: the role is killed and started with a failpoint armed, which kills it again at
  the named step; a worker that hangs likewise, and its watchdog has to end it.
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

# 100 bytes refuse every batch and let the mark of a transaction's end (78) pass: Kafka gives up on a mark that is
# refused, and nobody can write or read past that transaction any more.
REFUSING = {"min.insync.replicas": "2", "max.message.bytes": "100"}
PATIENCE_S = 40.0
CHUNK = bytes(1 << 20)


class Injector:
    """Carries out a schedule beside the load, each fault in a thread of its own."""

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
        except Exception as error:  # told when all are over: the other faults go on
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
        with self._one_at_a_time[server.name]:  # it may not be up again when its next fault begins
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
            except ServerError:  # what is left of the killed one may take a moment to end
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
        """Set or unset a topic's setting; a broker that is away meanwhile is waited for."""
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
                except OSError:  # full; what others free meanwhile is taken, too
                    time.sleep(0.05)
        filler.unlink()
