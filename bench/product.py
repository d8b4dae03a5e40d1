"""Measures the throughput of the whole product on its own event mix: `streamwise bench product --json`.

It uses a real Kafka, a real Redis and the ledger role on SQLite beside the worker. The worker consumes web, social and
sales events from full topics, keeps every column, scores with the shipped models where something needs a score,
evaluates all policies, writes receipts, views, examples and the changelog, and commits. The same run, on the same
broker, also measures linear models in place of the mixtures, and the warmed-up Kafka Streams peer on the small job of
`bench.workload.job`. Events and snapshots are synthetic (`bench.workload.product_mix`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import schemas
from agents.registry import snapshot_key
from agents.topology import topics
from bench.harness import SETTLED, keep, say
from bench.workload import drawn
from models.config import load_models
from models.learning import Binary, fit
from models.scoring import CELLS, LINEAR, MIXTURE, Snapshot
from schemas.topics import MODELS
from streams.kafka import ensure

from .engine import kafka_streams_rate
from .servers import KafkaServer, RedisServer
from .workload import product_mix as mix

PARTITIONS = 4
CUSTOMERS = 10_000
EVENTS = 10_000_000
STEP_MS = 700.0
FIRST_MS = 1_577_836_800_000  # 2020-01-01
CONFIG = Path(__file__).parent.parent / "config"
RUN_TIMEOUT_S = 900
TRANSACTION_MS = 600_000  # filling the topics may take this long


def fill(bootstrap: str, events: int, customers: int, partitions: int) -> None:
    """Create every topic and produce the mix, as a well-configured producer does."""
    ensure(bootstrap, topics(list(mix.TOPICS)), partitions=partitions, replication=1)
    produce(bootstrap, mix.chunks(events, customers, first_ms=FIRST_MS, step_ms=STEP_MS))


def produce(
    bootstrap: str, chunks: Iterable[list[mix.Encoded]], *, at_once: Callable[[], None] | None = None
) -> None:
    """Append events as a well-configured producer does.

    With `at_once` they are one transaction: all become readable at one moment, after the call of `at_once`.
    """
    settings = {
        "bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "compression.type": "lz4", "linger.ms": 50,
        "batch.num.messages": 10_000, "queue.buffering.max.messages": 1_000_000,
    }  # fmt: skip
    if at_once is not None:
        settings |= {"transactional.id": "bench", "transaction.timeout.ms": TRANSACTION_MS}
    producer = Producer(settings)
    if at_once is not None:
        producer.init_transactions(30)
        producer.begin_transaction()
    for chunk in chunks:
        for part in chunk:
            messages = [{"key": k, "value": v} for k, v in zip(part.keys, part.values, strict=True)]
            while len(producer) > 500_000:
                producer.poll(0.01)
            if producer.produce_batch(part.topic, messages) != len(messages):
                raise RuntimeError(f"the producer's queue refused events for {part.topic}")
    if producer.flush(120):
        raise RuntimeError(f"the topics were not filled in time: the broker at {bootstrap} is stuck")
    if at_once is not None:
        at_once()
        producer.commit_transaction(60)


def made_snapshots(config: Path = CONFIG, version: int = 1, kind: str = MIXTURE) -> list[tuple[bytes, bytes]]:
    """Make synthetic snapshots (keys and values): for each model a mixture of the shipped size, trees included.

    The weights are drawn at random and the trees fitted to random examples. The score is the linear expert's: the
    other experts are computed, but with weight 0. With the kind LINEAR there are no other experts.
    """
    models = load_models(config / "models.yaml")
    rng = np.random.default_rng(1)
    x, labels = drawn(len(models.names), 5000)
    trees = fit(x, labels.astype(np.float32), Binary.objective)
    made = []
    for model in models.models:
        snapshot = Snapshot(
            model.name, version, FIRST_MS, kind, models.names, -1.0,
            tuple((rng.normal(size=len(models.names)) * 0.05).tolist()), 0,
            mixing=(0.0, 1.0, 0.0, 0.0), table=bytes(4 * CELLS), trees=trees.packed(),
        )  # fmt: skip
        value = schemas.encode("model_snapshot", snapshot.to_record())
        made.append((snapshot_key(model.name, version), value))
    return made


def publish(bootstrap: str, snapshots: list[tuple[bytes, bytes]]) -> None:
    """Publish snapshots as a learner does."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for key, value in snapshots:
        producer.produce(MODELS, key=key, value=value)
    if producer.flush(10):
        raise RuntimeError("snapshots were not acknowledged in 10 s")


def run(events: int = EVENTS, customers: int = CUSTOMERS, runs: int = 3, peer: bool = True) -> dict[str, Any]:
    """Measure mixtures and linear models in turn on one broker. Each run makes its own topics; the median counts.

    The first run warms up the broker and does not count. The peer is warmed up too, and runs after it.
    """
    results: dict[str, list[dict[str, Any]]] = {MIXTURE: [], LINEAR: []}
    streams_rate = 0.0
    with KafkaServer() as kafka:
        for number, kind in enumerate([MIXTURE, *[MIXTURE, LINEAR] * runs]):
            with ExitStack() as stack:
                redis = stack.enter_context(RedisServer())
                remove_topics(kafka.bootstrap)
                fill(kafka.bootstrap, events, customers, PARTITIONS)
                publish(kafka.bootstrap, made_snapshots(kind=kind))
                result = measure(stack, kafka.bootstrap, redis.url, events)
            say(f"product, {kind}{'' if number else ' (warms up)'}: {result['events_per_s']:,.0f} events/s")
            if number:
                results[kind].append(result)
            if peer and number == 1:
                streams_rate = kafka_streams_rate(kafka.bootstrap)
                say(f"kafka_streams, small job: {streams_rate:,.0f} events/s")
    rates, linear = ([result["events_per_s"] for result in results[kind]] for kind in (MIXTURE, LINEAR))
    median = results[MIXTURE][rates.index(statistics.median_low(rates))]
    return {
        **median, "runs_events_per_s": rates, "linear_events_per_s": statistics.median_low(linear),
        "kafka_streams_events_per_s": streams_rate,
    }  # fmt: skip


def remove_topics(bootstrap: str) -> None:
    """Remove the topics of the previous run; the broker drops their committed offsets too."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("_")]
    for removed in (admin.delete_topics(topics) if topics else {}).values():
        removed.result()
    while any(not name.startswith("_") for name in admin.list_topics(timeout=10).topics):
        time.sleep(0.1)


def measure(
    stack: ExitStack, bootstrap: str, redis_url: str, events: int, options: Sequence[str] = (),
    settled: Callable[[], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure one run of the worker, with the ledger, over the events in the topics. `options`: for the product worker.

    `settled` is called when the worker has processed the events before the timed ones and fetches nothing.
    """
    state = stack.enter_context(tempfile.TemporaryDirectory())
    environment = {
        **os.environ, "STREAMWISE_KAFKA": bootstrap, "STREAMWISE_REDIS": redis_url, "STREAMWISE_STATE": state,
        "STREAMWISE_PARTITIONS": str(PARTITIONS), "STREAMWISE_LEDGER_PORT": "0",
    }  # fmt: skip
    ledger = subprocess.Popen(
        [sys.executable, "-m", "cli", "ledger"], env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr
    )
    stack.callback(_end, ledger)
    time.sleep(5)  # the ledger compiles and joins its group, so that its start is not measured
    command = [
        sys.executable,
        "-m",
        "bench.harness.product_worker",
        "--bootstrap",
        bootstrap,
        "--redis",
        redis_url,
    ]
    command += ["--events", str(events), "--partitions", str(PARTITIONS), *options]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(_end, worker)
    if settled is not None:
        assert worker.stdout is not None
        while line := worker.stdout.readline():
            if line.strip() == SETTLED:
                settled()
                break
    said, _ = worker.communicate("go on\n", timeout=RUN_TIMEOUT_S)
    if worker.returncode or ledger.poll() is not None:
        raise RuntimeError("the worker or the ledger failed; see the lines above")
    figures: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return figures


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(argv: list[str] | None = None) -> int:
    """Print progress on standard error and the figures as one JSON line on standard output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--customers", type=int, default=CUSTOMERS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true", help="leave Kafka Streams out")
    parser.add_argument("--json", action="store_true", help="(always on: the last line is JSON)")
    given = parser.parse_args(argv)
    figures = run(given.events, given.customers, given.runs, not given.no_peer)
    keep("product", figures)
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
