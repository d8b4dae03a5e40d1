"""A role of which one step hangs ends itself, and its last line names that step."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import schemas
from agents.processes.supervisor import environment
from config.settings import load_settings
from streams.kafka.embedded_broker import PARTITIONS, EmbeddedBroker
from tests.fixtures.roles import FEATURES, Broker
from tests.reference import streams

ROOT = Path(__file__).parents[2]
STALL_S = 5.0
LIMIT_S = 90.0
# of each role: what is blocked, and what the last line says
WORKER = {
    "fold": "step fold (the event loop is in block, role_process.py:",
    "fetch": "step fetch of web.events[",
    "outputs": "step outputs acknowledged has stood still for",
    "restoring": "step restoring has stood still for",
}
OTHERS = {
    ("learner", "learn"): "step learn (the event loop is in block, role_process.py:",
    ("learner", "publish"): "step publish has stood still for",
    ("ledger", "write"): "step SQL block has stood still for",
    ("analyst", "merge"): "step learn (the event loop is in block, role_process.py:",
    ("analyst", "publish"): "step publish has stood still for",
    ("reader", "read"): "step read (the event loop is in block, role_process.py:",
    ("reader", "corrections"): "step corrections learned has stood still for",
}


Hung = tuple[subprocess.Popen[str], str]


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Callable[[str, str, str], Hung]]:
    """Start a role of which one step is blocked, on a broker of its own that has work for it."""
    with ExitStack() as stack:

        def begin(role: str, blocked: str, line: str) -> Hung:
            embedded = stack.enter_context(EmbeddedBroker())
            broker = Broker(embedded, embedded.bootstrap)
            stack.callback(broker.producer.flush, 5)
            for topic, values in work().items():
                for number in range(PARTITIONS):
                    broker.send(topic, values, number)
            settings = load_settings(
                kafka=broker.bootstrap,
                partitions=PARTITIONS,
                state=tmp_path / f"{role}-{blocked}",
                commit_interval=1.0,
            )
            command = [sys.executable, "-m", "tests.doubles.role_process", role, str(STALL_S), blocked]
            env = {**os.environ, **environment(settings, True)}
            process = subprocess.Popen(
                command, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stderr is not None
            stack.callback(process.stderr.close)
            return process, line

        yield begin


def ends_with(hung: Hung) -> None:
    process, line = hung
    _, told = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1, told
    last = told.strip().splitlines()[-1]
    assert last.startswith(f"streamwise: watchdog: {line}"), told
    assert last.endswith("; the process ends so that another takes over")


def work() -> dict[str, list[bytes | None]]:
    """Something to do for each role."""
    log = streams.random_log(5, 50, partitions=1, bad=0.0)
    example = {"id": "c:purchase:1", "customer": "c", "model": "purchase", "label": 1, "opened": 1, "due": 2,
               "label_time": 2, "score": 0.5, "snapshot": 0, "features": [1.0] * FEATURES}  # fmt: skip
    receipt = {"layout": 1, "snapshots": [0, 0], "scores": [0.5, 0.5], "fields": [1.0], "values": [2.0]}
    alert = {"id": "a", "customer": "c", "policy": "p", "kind": "alert", "time": 1, "cause": "order",
             "topic": "sales.events", "partition": 0, "offset": 0, "receipt": receipt}  # fmt: skip
    message = {"message_id": "m", "time": 1, "kind": "email", "text": "no"}
    correction = {"id": "c", "time": 1, "text": "no", "sentiment": -0.5}
    return {
        "web.events": [record.value for record in log["web.events", 0]],
        "training.examples": [schemas.encode("training_example", example)],
        "alerts": [schemas.encode("decision", alert)],
        "social.messages": [schemas.encode("social_event", message)],
        "message.corrections": [schemas.encode("correction", correction)],
    }


def test_workers(hang: Callable[[str, str, str], Hung]) -> None:
    """At the same time, as each has to wait for its end."""
    for hung in [hang("worker", blocked, line) for blocked, line in WORKER.items()]:
        ends_with(hung)


def test_the_other_roles(hang: Callable[[str, str, str], Hung]) -> None:
    for hung in [hang(*place, line) for place, line in OTHERS.items()]:
        ends_with(hung)
