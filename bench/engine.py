"""Measures every engine on the small job of `bench.workload.job`: one broker, one run, each engine alone.

    python -m bench.engine --scale 0.1

At each number of customers, each engine reads a whole topic from the same generator, sized to take it
10 to 20 seconds. If an engine has several sensible settings, the best one counts. The number of alerts
that it counts, and the number in its alerts topic, must be what the topic must give, or the bench fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka.admin import AdminClient

from bench.harness import keep, say

from .harness import environments
from .servers import KafkaServer, ServerError
from .workload import events

# The ratios are taken at FEW_CUSTOMERS.
FEW_CUSTOMERS = 10_000
MANY_CUSTOMERS = 1_000_000
PEER_TIMEOUT_S = 900.0
# Share of its topic that a JVM engine reads before the measurement begins.
WARMUP_SHARE = 0.4

Result = dict[str, Any]


class BenchError(Exception):
    """An engine failed, or its alerts are not those that its topic must give."""


@dataclass(frozen=True)
class Engine:
    """How to run one engine, and on how many events. The bench tries each of `settings`."""

    name: str
    events: int
    settings: tuple[tuple[str, ...], ...] = ((),)
    # For an engine that a million customers slow down so much that the run would take minutes.
    events_of_many: int | None = None
    java: tuple[str, str] | None = None

    def topic_events(self, customers: int, scale: float) -> int:
        """The number of events in the topic that this engine reads."""
        many = customers >= MANY_CUSTOMERS
        events = self.events_of_many if many and self.events_of_many else self.events
        return max(1, int(events * scale))

    def command(self) -> list[str]:
        """The command, without the options that say what to read."""
        if self.java is not None:
            return environments.java_peer(*self.java)
        if self.name == "streamwise":
            return [sys.executable, "-m", "bench.harness.small_job"]
        return [environments.peers_python(), "-m", f"bench.peers.{self.name}_peer"]


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("streamwise", 10_000_000),
        Engine("faust", 60_000),
        Engine("quix", 400_000),
        Engine("bytewax", 1_500_000),
        Engine("bare", 1_500_000),
        Engine(
            "kafka_streams",
            10_000_000,
            (
                ("--store", "memory", "--cache-mb", "512"),
                ("--store", "memory", "--cache-mb", "0"),
                ("--store", "rocksdb", "--cache-mb", "512"),
            ),
            events_of_many=4_000_000,
            java=("kafka-streams", "streamwise.bench.KafkaStreamsPeer"),
        ),
        Engine(
            "flink",
            10_000_000,
            (
                ("--state", "heap", "--keyed", "chained", "--parallelism", "1"),
                ("--state", "heap", "--keyed", "shuffled", "--parallelism", "1"),
                ("--state", "heap", "--keyed", "shuffled", "--parallelism", "2"),
            ),
            java=("flink", "streamwise.bench.FlinkPeer"),
        ),
    )
}


def run(
    customers: Sequence[int] = (FEW_CUSTOMERS, MANY_CUSTOMERS),
    engines: Sequence[str] = tuple(ENGINES),
    scale: float = 1.0,
    bootstrap: str | None = None,
) -> Result:
    """Measure the engines; `scale` shortens (or lengthens) every topic, for a quick look."""
    with _broker(bootstrap) as address:
        bench = _Bench(address, scale)
        try:
            figures = {
                str(count): {name: bench.measure(ENGINES[name], count) for name in engines}
                for count in customers
            }
        finally:
            bench.clean_up()
    return {"customers": figures, "ratios": _ratios(figures.get(str(FEW_CUSTOMERS), {}))}


def kafka_streams_rate(bootstrap: str, customers: int = FEW_CUSTOMERS, scale: float = 1.0) -> float:
    """Events/s of the warmed-up Kafka Streams small job; the product bench must stay above it."""
    figures = run([customers], ["kafka_streams"], scale, bootstrap)
    rate: float = figures["customers"][str(customers)]["kafka_streams"]["events_per_s"]
    return rate


def _ratios(figures: dict[str, Result]) -> dict[str, float]:
    if "streamwise" not in figures:
        return {}
    ours = figures["streamwise"]["events_per_s"]
    return {
        name: round(ours / figure["events_per_s"], 2)
        for name, figure in figures.items()
        if name != "streamwise"
    }


@contextmanager
def _broker(bootstrap: str | None) -> Iterator[str]:
    if bootstrap is not None:
        yield bootstrap
        return
    with KafkaServer() as kafka:
        yield kafka.bootstrap


@dataclass
class _Bench:
    """The topics of one run, by (events, customers), and the alerts that they must give."""

    bootstrap: str
    scale: float
    run_id: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:8]}")
    filled: dict[str, int] = field(default_factory=dict)
    alerts_topics: list[str] = field(default_factory=list)

    def measure(self, engine: Engine, customers: int) -> Result:
        """The figures of the engine's best setting."""
        count = engine.topic_events(customers, self.scale)
        topic = self._topic(count, customers)
        results = []
        for setting in engine.settings:
            result = self._run(engine, setting, topic, count)
            say(
                f"{engine.name} at {customers:,} customers: {result['events_per_s']:,.0f} events/s,"
                f" {result['cpu_us_per_event']:.2f} us CPU each {' '.join(setting)}"
            )
            results.append(result)
        best = max(results, key=lambda result: float(result["events_per_s"]))
        return best if len(results) == 1 else {**best, "settings": results}

    def clean_up(self) -> None:
        """Delete the topics of this run, as the broker may be a permanent one."""
        topics = [*self.filled, *self.alerts_topics]
        if topics:
            deletions = AdminClient({"bootstrap.servers": self.bootstrap}).delete_topics(topics)
            for deletion in deletions.values():
                deletion.exception(30)

    def _topic(self, count: int, customers: int) -> str:
        """The topic of `count` events; filled at its first use."""
        topic = f"{self.run_id}-{customers}-{count}"
        if topic not in self.filled:
            say(f"filling {topic}")
            self.filled[topic] = events.expected_alerts(count, customers)
            events.fill(self.bootstrap, topic, count, customers)
        return topic

    def _run(self, engine: Engine, setting: Sequence[str], topic: str, count: int) -> Result:
        alerts_topic = f"{self.run_id}-alerts-{len(self.alerts_topics)}"
        events.create_topic(self.bootstrap, alerts_topic)
        self.alerts_topics.append(alerts_topic)
        command = [*engine.command(), "--bootstrap", self.bootstrap, "--topic", topic]
        command += ["--events", str(count), "--alerts-topic", alerts_topic, *setting]
        if engine.java is not None:
            command += ["--warmup", str(int(count * WARMUP_SHARE))]
        result = _final_line(engine.name, command)
        expected = self.filled[topic]
        arrived = events.count_records(self.bootstrap, alerts_topic)
        if not result["alerts"] == arrived == expected:
            raise BenchError(
                f"{engine.name} counted {result['alerts']} alerts and delivered {arrived}, "
                f"but {topic} must give {expected}"
            )
        return result


def _final_line(name: str, command: list[str]) -> Result:
    """Run the process to its end and read the JSON object on its last line."""
    try:
        done = environments.run_peer(command, PEER_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} did not finish in {PEER_TIMEOUT_S:.0f} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        errors = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it printed nothing"]
        raise BenchError(f"{name} ended with status {done.returncode}: {errors[-1]}")
    result: Result = json.loads(lines[-1])
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the bench. Exit status: 0 if all engines agree, 1 if one failed, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.engine",
        description="Measure the engines on one small job.",
        epilog="example: python -m bench.engine --engines bare,flink --customers 10000 --scale 0.1",
    )
    parser.add_argument("--engines", default=",".join(ENGINES), help="names, comma separated")
    parser.add_argument("--customers", default=f"{FEW_CUSTOMERS},{MANY_CUSTOMERS}")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full topic sizes")
    parser.add_argument("--bootstrap", help="use this broker instead of starting one")
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    args = parser.parse_args(argv)
    engines = args.engines.split(",")
    unknown = [name for name in engines if name not in ENGINES]
    if unknown:
        parser.error(f"unknown engine {unknown[0]}: choose from {', '.join(ENGINES)}")
    try:
        customers = [int(count) for count in args.customers.split(",")]
    except ValueError:
        parser.error(f"--customers takes numbers with commas between them, not {args.customers}")
    try:
        result = run(customers, engines, args.scale, args.bootstrap)
    except (BenchError, ServerError) as error:
        say(f"error: {error}")
        return 1
    keep("engine", result)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
