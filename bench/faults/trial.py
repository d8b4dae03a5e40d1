"""Runs one seed: an installation, a load with faults, then a comparison of the result with the expected one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

import schemas
from agents.worker import role as worker
from bench.harness import say
from bench.servers import KafkaServer
from schemas.topics import CHANGELOG, MODELS

from . import comparison
from .injector import Injector
from .installation import GROUPS, LOGGED, OUTPUTS, PARTITIONS, Installation
from .load import Load
from .oracle import Log, found, read, undisturbed
from .progress import Progress
from .schedule import Fault

RATE = 2500  # events a second
DRAIN_S = 90.0
STALL_S = 15.0  # timeout of the watchdogs: longer than any fault stops a broker or a process
LOOK_S = 0.25


@dataclass(slots=True)
class Outcome:
    """The result of one seed."""

    seed: int
    events: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    gaps_s: dict[str, float] = field(default_factory=dict)
    differences: comparison.Differences = field(default_factory=comparison.Differences)
    seconds: float = 0.0
    error: str = ""  # why the seed could not be carried out


def run(
    seed: int,
    faults: list[Fault],
    logs: Path,
    *,
    length_s: float,
    rate: int = RATE,
    weakness: str = "",
    roles: tuple[str, ...] = (),
    failpoint: str = "",
    drain_s: float = DRAIN_S,
    stall_s: float = STALL_S,
    kafka: KafkaServer | None = None,
) -> Outcome:
    """Run one seed.

    `roles`: run only these. `weakness`: see `bench.faults.weaknesses`. `failpoint`: for the first start of worker-0.
    `drain_s`: how long to wait until everything is processed. `kafka`: a running broker to use.
    """
    began = time.monotonic()
    outcome = Outcome(seed)
    with ExitStack() as stack:
        on = stack.enter_context(
            Installation(logs, roles=roles, weakness=weakness, stall_s=stall_s, kafka=kafka)
        )
        on.roles["worker-0"].failpoint = failpoint
        say(f"seed {seed}: servers are up after {time.monotonic() - began:.0f} s")
        on.start_roles()
        say(f"seed {seed}: roles are ready after {time.monotonic() - began:.0f} s")
        stack.callback(on.supervisor.end)
        progress = Progress(on.kafka.bootstrap, worker.GROUP, GROUPS[worker.GROUP], PARTITIONS).start()
        load = Load(on.kafka.bootstrap, seed, rate=rate, seconds=length_s).start()
        injector = Injector(on, load, progress, say)
        try:
            injector.run(faults)
            load.join()
            say(f"seed {seed}: the load is over after {time.monotonic() - began:.0f} s")
            drained = _drain(on, drain_s)
        finally:
            progress.stop()
        say(f"seed {seed}: the wait for the roles ended after {time.monotonic() - began:.0f} s")
        if not drained:
            say(f"seed {seed}: the roles did not process everything in {drain_s:.0f} s")
        on.supervisor.end()
        say(f"seed {seed}: roles have ended after {time.monotonic() - began:.0f} s")
        outcome.events, outcome.faults, outcome.gaps_s = load.delivered, injector.counts, progress.gaps_s
        outcome.differences = _compare(on, load)
    outcome.seconds = time.monotonic() - began
    return outcome


def _drain(on: Installation, patience_s: float) -> bool:
    """Wait until every running role has committed everything; return False if that takes too long."""
    until = time.monotonic() + patience_s
    for group, topics in GROUPS.items():
        kind = {"worker": "worker-0"}.get(group.rpartition("-")[2], group.rpartition("-")[2])
        if not on.roles[kind].wanted:
            continue
        progress = Progress(on.kafka.bootstrap, group, topics, PARTITIONS)
        try:
            while _behind(progress):
                if time.monotonic() > until:
                    return False
                time.sleep(LOOK_S)
        finally:
            progress.close()
    return True


def _behind(progress: Progress) -> bool:
    try:
        return progress.behind() > 0
    except KafkaException:
        return True


def _compare(on: Installation, load: Load) -> comparison.Differences:
    log = read(on.kafka.bootstrap, LOGGED)
    expected, there = undisturbed(on.config, log), found(on.config, log, CHANGELOG, OUTPUTS)
    differences = comparison.Differences()
    comparison.compare_rows(on.config.layout, expected, there, differences)
    comparison.compare_outputs(expected, there, differences)
    comparison.compare_letters(expected.letters | _expected_letters(on, load), there.letters, differences)
    for name in ("ledger", "archive"):
        if on.roles[name].starts:
            comparison.compare_sql(name, on.sql(name), there, differences)
    if on.roles["learner"].starts:
        comparison.compare_learned(_learned(log), there, differences)
    return differences


def _expected_letters(on: Installation, load: Load) -> set[tuple[str, int, int]]:
    """The positions of poison in topics whose reader runs."""
    reader = dict.fromkeys(("alerts", "offers"), "ledger") | {"training.examples": "learner"}
    return {place for place in load.poison if on.roles[reader.get(place[0], "worker-0")].starts}


def _learned(log: Log) -> Mapping[str, int]:
    """Examples that the newest snapshot of each model has learned or keeps until they are due, by model."""
    newest: dict[str, tuple[int, float]] = {}
    for (topic, _), records in log.items():
        for record in records if topic == MODELS else ():
            if record.value is not None:
                snapshot: dict[str, Any] = schemas.decode(record.value)[1]
                held = newest.get(snapshot["model"], (0, 0))
                newest[snapshot["model"]] = max(held, (snapshot["version"], snapshot["metrics"]["taken"]))
    return {model: int(taken) for model, (_, taken) in newest.items()}


def total(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures over all seeds."""
    faults: dict[str, int] = {}
    gaps: dict[str, float] = {}
    for outcome in outcomes:
        for kind, count in outcome.faults.items():
            faults[kind] = faults.get(kind, 0) + count
        for kind, gap_s in outcome.gaps_s.items():
            gaps[kind] = max(gaps.get(kind, 0.0), round(gap_s, 1))
    names = ("lost", "twice", "outputs_missing", "outputs_twice")
    sums = {name: sum(getattr(outcome.differences, name) for outcome in outcomes) for name in names}
    return {
        "seeds": len(outcomes),
        "events": sum(outcome.events for outcome in outcomes),
        "faults": dict(sorted(faults.items())),
        **sums,
        "longest_gap_s": dict(sorted(gaps.items())),
        "not_carried_out": {str(outcome.seed): outcome.error for outcome in outcomes if outcome.error},
    }
