"""What the bench of a second worker measures: the CPU of a process, from when all events can be read at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from confluent_kafka import Consumer, TopicPartition

from agents.topology.topics import topics
from bench.harness.report import PARTS
from bench.product import FIRST_MS, PARTITIONS, STEP_MS, produce
from bench.servers import KafkaServer
from bench.site import Worker
from bench.workers import _ends
from bench.workload import product_mix as mix
from streams.kafka.topic_admin import ensure

SPIN = """
import sys, threading, time

def spin():
    while time.process_time() < 0.5:
        pass

thread = threading.Thread(target=spin)
thread.start()
thread.join()
print("done", flush=True)
sys.stdin.read()
"""


def test_the_cpu_of_a_process_is_that_of_all_its_threads() -> None:
    worker = Worker.__new__(Worker)
    command = [sys.executable, "-c", SPIN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        worker.process = process
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert 0.4 < worker.cpu_s() < 5.0


def test_all_events_can_be_read_at_once() -> None:
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing
    with KafkaServer() as kafka:
        ensure(kafka.bootstrap, topics(list(mix.TOPICS)), partitions=PARTITIONS, replication=1)
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test"})
        consumer.assign([TopicPartition(topic, n, 0) for topic in mix.TOPICS for n in range(PARTITIONS)])
        seen: list[int] = []
        chunks = mix.chunks(2_000, 10, first_ms=FIRST_MS, step_ms=STEP_MS)
        produce(kafka.bootstrap, chunks, at_once=lambda: seen.append(len(consumer.consume(1, 3.0))))
        assert seen == [0]
        assert len(consumer.consume(2_000, 30.0)) == 2_000
        consumer.close()
        assert _ends(kafka.bootstrap) > 2_000  # the marks of the transaction count


def test_the_page_has_a_place_for_it() -> None:
    figures = {
        "cpu_s_per_million": {"one": 1.0, "two": 1.05},
        "ratio": 1.05,
        "events_per_s": {"one": 1.0, "two": 2.0},
    }
    assert "| two | 1.050 | 2 |" in PARTS["workers"](figures)
