"""The fault bench: its schedule comes of the seed, it can fail, and a seed passes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.faults import command as faults
from bench.faults import comparison, load, schedule, trial
from bench.faults.comparison import Differences
from bench.faults.declared import write_config
from bench.faults.oracle import Log, Record, State, undisturbed
from bench.servers import KafkaServer
from bench.servers.postgres import BINARIES
from bench.servers.process import end_on_sigterm
from customers.row.layout import APPLIED
from pipeline.config import Config, load_config
from schemas.topics import EXAMPLES
from streams.kafka import committed_offsets as offsets

PARTITIONS = 2
EVENTS = 6000
APPENDED_MS = load.FIRST_MS + 365 * load.DAY_MS


def needs(*programs: str) -> None:
    """Skip where a program is missing on a laptop; CI has them all, so there it fails."""
    missing = [program for program in programs if shutil.which(program) is None]
    if "postgres" in missing and BINARIES:
        missing.remove("postgres")
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} missing")
    assert not missing, f"{', '.join(missing)} missing, and CI=true needs them"


# -- seeds side by side -----------------------------------------------------------------------------------


def stays(folder: Path, seed: int) -> trial.Outcome:
    with tempfile.TemporaryDirectory(prefix=f"seed-{seed}-", dir=folder):
        time.sleep(60)
    raise AssertionError("it was to be ended")


def two_that_stay(folder: Path) -> None:
    end_on_sigterm()
    faults.side_by_side(partial(stays, folder), [1, 2], 2)


def test_seeds_under_way_end_with_the_bench_and_leave_nothing(tmp_path: Path) -> None:
    bench = get_context("spawn").Process(target=two_that_stay, args=(tmp_path,))
    bench.start()
    until = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(list(tmp_path.iterdir())) == 2
    bench.terminate()
    bench.join(20)
    assert bench.exitcode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


# -- the schedule -----------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_faults_and_another_one_others() -> None:
    assert schedule.draw(7) == schedule.draw(7)
    assert len({str(schedule.draw(seed)) for seed in range(20)}) == 20


def test_every_kind_comes_and_none_hits_what_another_one_still_has() -> None:
    seen = set()
    for seed in range(40):
        faults = schedule.draw(seed)
        assert len(faults) >= 6
        seen |= {fault.kind for fault in faults}
        for number, fault in enumerate(faults):
            assert fault.at_s <= schedule.LENGTH_S - schedule.LAST_S
            for other in faults[:number]:
                assert other.target != fault.target or other.at_s + other.lasts_s < fault.at_s
    assert seen == schedule.KINDS.keys()


def test_the_load_comes_of_the_seed() -> None:
    def drawn(seed: int) -> list[Any]:
        customers = load.Customers(seed, 500)
        return [customers.next() for _ in range(500)] + list(customers.late_burst(5))

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


# -- the comparison ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load_config(write_config(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="module")
def expected(config: Config) -> State:
    """What comes of a load without any broker, poison in it."""
    log: Log = {
        (topic, number): [] for topic in (load.WEB, load.SOCIAL, load.SALES) for number in range(PARTITIONS)
    }
    customers = load.Customers(1, EVENTS)
    events = [customers.next()[0] for _ in range(EVENTS)] + load.poisoned(random.Random(1), PARTITIONS)
    for event in events:
        if event.topic in (load.WEB, load.SOCIAL, load.SALES):
            number = sum(event.key or b"") % PARTITIONS
            records = log[event.topic, number]
            records.append(Record(len(records), event.key, event.value, APPENDED_MS))
    return undisturbed(config, log)


def differences(config: Config, expected: State, found: State) -> Differences:
    into = Differences()
    comparison.compare_rows(config.layout, expected, found, into)
    comparison.compare_outputs(expected, found, into)
    comparison.compare_letters(expected.letters, found.letters, into)
    return into


def row_of(state: State, first: bytes) -> Any:
    return next(row for (_, key), row in sorted(state.rows.items()) if key.startswith(first))


def count_less(config: Config, state: State) -> None:
    row_of(state, b"w")[config.layout.column_at["web_count"]] -= 3


def count_more(config: Config, state: State) -> None:
    row_of(state, b"l")[config.layout.column_at["order_count"]] += 2


def drop_row(config: Config, state: State) -> None:
    state.rows = {key: row for key, row in state.rows.items() if row is not row_of(state, b"s")}


def older_offset(config: Config, state: State) -> None:
    row_of(state, b"l").view("int64")[APPLIED] -= 1


def other_word(config: Config, state: State) -> None:
    row_of(state, b"w")[config.layout.column_at["pages_1h"]] += 1e-9


def free_word(config: Config, state: State) -> None:
    """What depends on the order over topics is not compared of late customers."""
    row_of(state, b"l")[config.layout.column_at["pages_1h"]] += 1.0


def first_output(state: State, topic: str) -> Any:
    """One of a punctual customer, of whom everything is compared."""
    return next(
        place
        for place, (record, *_) in sorted(state.outputs.items())
        if place[0] == topic and comparison.punctual(record["customer"])
    )


def drop_output(config: Config, state: State) -> None:
    del state.outputs[first_output(state, "alerts")]


def repeat_output(config: Config, state: State) -> None:
    """The same id with the same content may stand in a topic twice."""
    records = state.outputs[first_output(state, "alerts")]
    records.append(deepcopy(records[0]))


def second_content(config: Config, state: State) -> None:
    records = state.outputs[first_output(state, "offers")]
    records.append({**records[0], "cause": "another"})


def other_label(config: Config, state: State) -> None:
    records = state.outputs[first_output(state, EXAMPLES)]
    records[0] = {**records[0], "label": 1 - records[0]["label"]}


def other_score(config: Config, state: State) -> None:
    """Scores depend on when the learner published."""
    records = state.outputs[first_output(state, EXAMPLES)]
    records[0] = {**records[0], "score": 0.125, "snapshot": 9}


def made_up_output(config: Config, state: State) -> None:
    place = first_output(state, "alerts")
    state.outputs["alerts", place[1] + "x"] = deepcopy(state.outputs[place])


def drop_letter(config: Config, state: State) -> None:
    state.letters.pop()


def other_letter(config: Config, state: State) -> None:
    state.letters.add((load.WEB, 0, 0))


@pytest.mark.parametrize(
    ("plant", "lost", "twice", "missing", "again"),
    [
        (count_less, 3, 0, 0, 0), (count_more, 0, 2, 0, 0), (older_offset, 1, 0, 0, 0), (other_word, 1, 0, 0, 0),
        (free_word, 0, 0, 0, 0), (drop_output, 0, 0, 1, 0), (repeat_output, 0, 0, 0, 0), (second_content, 0, 0, 0, 1),
        (other_label, 0, 0, 1, 0), (other_score, 0, 0, 0, 0), (made_up_output, 0, 0, 0, 1), (drop_letter, 0, 0, 1, 0),
        (other_letter, 0, 0, 0, 1),
    ],
)  # fmt: skip
def test_a_planted_difference_is_reported(
    config: Config, expected: State, plant: Callable[[Config, State], None], lost: int, twice: int, missing: int,
    again: int,
) -> None:  # fmt: skip
    found = deepcopy(expected)
    assert differences(config, expected, found).none
    plant(config, found)
    into = differences(config, expected, found)
    assert (into.lost, into.twice, into.outputs_missing, into.outputs_twice) == (lost, twice, missing, again)
    assert bool(into.told) == (not into.none)


def test_a_row_that_is_not_there_is_lost_with_all_its_events(config: Config, expected: State) -> None:
    found = deepcopy(expected)
    events = int(row_of(found, b"s")[config.layout.column_at["social_count"]])
    drop_row(config, found)
    assert events > 0
    assert differences(config, expected, found).lost == events
    assert differences(config, found, expected).twice == events


def test_sql_and_the_learner_have_each_output_once(expected: State) -> None:
    rows: dict[str, list[Any]] = {"alerts": [], "offers": []}
    for (topic, _), (record, *_) in expected.outputs.items():
        if topic in rows:
            rows[topic].append(comparison._flat(record))
    into = Differences()
    comparison.compare_sql("ledger", rows, expected, into)
    assert into.none
    rows["alerts"].append(rows["alerts"][0])
    gone = rows["offers"].pop()
    rows["alerts"].append({**gone, "id": "made up"})
    rows["offers"][0] = {**rows["offers"][0], "customer": "another"}
    comparison.compare_sql("ledger", rows, expected, into)
    assert (into.outputs_missing, into.outputs_twice) == (2, 2)

    count = sum(topic == EXAMPLES for topic, _ in expected.outputs)
    assert count > 0
    for learned, missing, again in ((count, 0, 0), (count - 2, 2, 0), (count + 3, 0, 3), (0, count, 0)):
        into = Differences()
        comparison.compare_learned({"purchase": learned}, expected, into)
        assert (into.outputs_missing, into.outputs_twice) == (missing, again)


# -- with real servers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    needs("java", "mvn")
    with KafkaServer() as server:
        _coordinate(server.bootstrap)
        yield server


def _coordinate(bootstrap: str) -> None:
    """Let the broker make its topics of offsets and transactions, or the first commit cycles wait for them."""
    Producer({"bootstrap.servers": bootstrap, "transactional.id": "first"}).init_transactions(30)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "first"})
    offsets.committed(consumer, [TopicPartition("first", 0)])
    consumer.close()


@pytest.mark.parametrize(
    ("weakness", "failpoint", "reported", "drain_s"),
    [
        ("commit-before-flush", "outputs:2", "lost", 60.0),
        ("no-applied-offset", "control:2", "twice", 60.0),
        ("changelog-before-outputs", "offsets:2", "outputs_missing", 60.0),
        ("no-watchdog", "rows:2:hang", "lost", 6.0),
    ],
)
def test_a_weakness_that_is_put_back_is_reported(
    kafka: KafkaServer, tmp_path: Path, weakness: str, failpoint: str, reported: str, drain_s: float
) -> None:
    outcome = trial.run(
        1, [], tmp_path, length_s=4.0, rate=1000, weakness=weakness, roles=("worker-0",), failpoint=failpoint,
        drain_s=drain_s, kafka=kafka,
    )  # fmt: skip
    assert getattr(outcome.differences, reported) > 0, outcome.differences


def test_without_a_weakness_the_same_kill_costs_nothing(kafka: KafkaServer, tmp_path: Path) -> None:
    outcome = trial.run(
        1, [], tmp_path, length_s=4.0, rate=1000, roles=("worker-0",), failpoint="control:2", kafka=kafka
    )
    assert outcome.events > 3900
    assert outcome.differences.none, outcome.differences


def test_a_short_seed(tmp_path: Path) -> None:
    needs("java", "mvn", "redis-server", "postgres")
    kinds = (
        "kill_worker",
        "kill_ledger",
        "kill_learner",
        "kill_in_commit",
        "poison",
        "burst",
        "redis_restart",
    )
    faults = schedule.draw(4, length_s=14.0, kinds=kinds)
    assert len({fault.kind for fault in faults}) >= 3
    outcome = trial.run(4, faults, tmp_path, length_s=14.0, rate=1500)
    assert sum(outcome.faults.values()) == len(faults)
    assert outcome.differences.none, outcome.differences


def test_a_seed_that_could_not_be_carried_out_is_told_and_leaves_the_others_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(seed: int, *given: Any, **named: Any) -> trial.Outcome:
        if seed == 2:
            raise RuntimeError("faults could not be carried out: a broker that never came back")
        return trial.Outcome(seed, events=100)

    monkeypatch.setattr(trial, "run", run)
    monkeypatch.setattr(faults, "keep", lambda *_: None)
    monkeypatch.setattr(faults, "ROOT", tmp_path)
    monkeypatch.setattr(faults, "LOGS", tmp_path)
    assert faults.main(["--seeds", "3"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["events"] == 200
    assert told["not_carried_out"] == {"2": "faults could not be carried out: a broker that never came back"}
    monkeypatch.setattr(trial, "run", lambda seed, *given, **named: trial.Outcome(seed))
    assert faults.main(["--seeds", "3"]) == 0
