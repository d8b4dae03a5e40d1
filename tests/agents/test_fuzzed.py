"""Poison in the topics of the other roles: each record is taken or refused, and the role goes on with the next one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faust.types.tuples import TP

import schemas
from agents.learner.published import ModelSnapshots, _take
from agents.learner.role import LearnerRole
from agents.ledger.role import LedgerRole
from agents.registry import snapshot_key
from agents.registry.snapshot_feed import SnapshotFeed
from agents.server.decision_feed import DecisionFeed
from config.settings import load_settings
from console.app import create_app
from console.board import Board
from models.example import Example
from models.learning.learner import Learner
from models.scoring.snapshot import LARGEST_VERSION, Snapshot
from serving.ledger.tables import METADATA
from streams.batches.builder import raw_batch
from streams.errors import Poison
from tests.agents.fuzz import spoilt
from tests.doubles import CapturedOutputs, Rig
from tests.doubles.outputs import CapturedChangelog
from tests.fixtures.servers import postgresql_url

COUNT = 3_000
EXAMPLES = TP("training.examples", 0)
MODELS = ("purchase", "churn")
FEATURES = Rig().config.models.names
Encode = Callable[[str, Sequence[dict[str, Any]]], list[bytes]]
Make = Callable[..., dict[str, Any]]


def mixed(name: str, good: Sequence[bytes], seed: int, count: int = COUNT) -> list[tuple[bytes | None, bool]]:
    """Spoilt values with a good one behind each tenth: (value, whether it is good)."""
    found: list[tuple[bytes | None, bool]] = []
    for number, value in enumerate(spoilt(name, good, seed, count)):
        found.append((value, False))
        if number % 10 == 9:
            found.append((good[number // 10 % len(good)], True))
    return found


# -- the learner


@pytest.fixture
def learner(tmp_path: Path) -> LearnerRole:
    made = LearnerRole(load_settings(kafka="127.0.0.1:1", partitions=1, state=tmp_path, learner_port=0))
    made.http.server._server.server_close()
    made.outputs = captured = CapturedOutputs()  # type: ignore[assignment]
    made.letters._outputs = made.outputs
    made.snapshots.close()
    made.snapshots = CapturedChangelog("models", captured)  # type: ignore[assignment]
    made.layouts = SimpleNamespace(get={}.get)  # type: ignore[assignment]
    made.whole = made.intake.assigned = True
    made.intake.positions = {EXAMPLES: 0}
    for family in made.families.values():
        made._take_up(family, {})
    return made


def test_the_learner(learner: LearnerRole, example: Make, encode: Encode) -> None:
    good = encode("training_example", [example(n, MODELS[n % 2]) for n in range(1000)])
    values = mixed("training_example", good, 1)
    batch = raw_batch(0, [(b"k", value) for value, _ in values])
    asyncio.run(learner.take([(EXAMPLES, batch)]))
    assert learner.intake.positions == {EXAMPLES: len(values)}
    captured: Any = learner.outputs
    dead = [schemas.decode(sent.value)[1]["offset"] for sent in captured.of("dead-letters")]
    assert len(dead) == len(set(dead)) == len(values) - learner.taken - learner.repeated
    assert not {at for at, (_, fine) in enumerate(values) if fine} & set(dead)
    assert min(len(dead), learner.taken) > COUNT // 10
    asyncio.run(learner.commit())
    for sent in captured.of("models"):
        snapshot = Snapshot.from_record(schemas.decode(sent.value)[1])
        snapshot.verify(FEATURES)
        Learner.restore(snapshot, FEATURES)
    told = learner.status()
    assert all(0 <= (model["auc"] or 0) <= 1 for model in told["models"].values())
    assert set(told["period"]) <= set(MODELS)
    assert all(math.isfinite(figures["log_loss"]) for figures in told["period"].values())


# -- snapshots


def published(count: int, example: Make) -> list[tuple[bytes, bytes]]:
    """Key and value of what a learner published."""
    learner, found = Learner("purchase", FEATURES), []
    for number in range(40 * count):
        learner.learn(Example.from_record(example(number)))
        if number % 40 == 39:
            snapshot = learner.snapshot(number, {"0": number})
            value = schemas.encode("model_snapshot", snapshot.to_record())
            found.append((snapshot_key("purchase", snapshot.version), value))
    return found


class Message:
    """A record of the models topic."""

    def __init__(self, key: bytes | None, value: bytes | None) -> None:
        self.key, self.value = lambda: key, lambda: value


def test_a_worker_and_snapshots_that_are_none(example: Make) -> None:
    taken: list[Snapshot] = []
    feed = SnapshotFeed("127.0.0.1:1", "models", FEATURES, taken.append)
    good = published(8, example)
    values = mixed("model_snapshot", [value for _, value in good], 2)
    keys = [key for key, _ in good]
    for number, (value, fine) in enumerate(values):
        before = len(taken)
        key = next(k for k, v in good if v == value) if fine else keys[number % len(keys)]
        feed._handle(Message(key, value))
        assert len(taken) == before + 1 or not fine
    assert COUNT // 10 <= len(taken) < len(values)
    assert len(feed.refused) <= 100
    rig = Rig()
    partition = rig.live(0)
    for snapshot in taken:
        assert snapshot_key(snapshot.model, snapshot.version) in keys
        assert np.isfinite([snapshot.bias, *snapshot.weights]).all()
        rig.work.offer(snapshot)
        rig.work.adopt(partition, rig.work.offered(partition))
    assert np.isfinite(partition.state.weights.weights).all()


def test_a_learner_goes_on_from_what_is_left_in_a_topic_of_poison(example: Make) -> None:
    good = published(4, example)
    key, value = good[-1]
    others = [b"", b"purchase", b"purchase/-1", b"purchase/" + b"9" * 40, b"/1", b"churn/3", b"purchase/77"]
    poison = spoilt("model_snapshot", [value], 3, COUNT // 2)
    for number, one in enumerate(poison):
        found: dict[str, ModelSnapshots] = {}
        for at in good:
            _take(found, *at)
        _take(found, (key, *others)[number % (1 + len(others))], one)
        for model, published_ones in found.items():
            learner, applied, *_ = published_ones.restore(model, FEATURES)
            assert learner.model == model
            assert learner.version <= LARGEST_VERSION
            assert all(isinstance(offset, int) for offset in applied.values())
        learner, *_ = found["purchase"].restore("purchase", FEATURES)
        learner.learn(Example.from_record(example(number)))
        snapshot = learner.snapshot(1, {})
        snapshot.verify(FEATURES)
        schemas.encode("model_snapshot", snapshot.to_record())


def test_a_state_that_is_none(example: Make) -> None:
    """Flipped bits in what a learner goes on from: refused, or as sound as any."""
    good = Snapshot.from_record(schemas.decode(published(2, example)[1][1])[1])
    state, refused = good.state, 0
    places = range(0, len(state), 41)
    for place in places:
        for bit in (0, 6, 7):
            damaged = bytearray(state)
            damaged[place] ^= 1 << bit
            try:
                learner = Learner.restore(replace(good, state=bytes(damaged)), FEATURES)
            except Poison:
                refused += 1
                continue
            learner.learn(Example.from_record(example(3, model=learner.model)))
            learner.snapshot(1).verify(FEATURES)
    assert refused > len(places) // 4  # of three times as many


# -- the ledger

__all__ = ["postgresql_url"]  # a fixture


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerRole]:
    """A ledger role without a broker, on a real database."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    made = LedgerRole(
        load_settings(kafka="127.0.0.1:1", partitions=1, state=tmp_path, ledger_port=0, ledger=url)
    )
    made.http.server._server.server_close()
    made.letters._outputs = CapturedOutputs()  # type: ignore[assignment]
    made.intake.assigned = True
    made.open()
    yield made
    METADATA.drop_all(made.ledger._engine)
    made.ledger.close()


def test_the_ledger(
    ledger: LedgerRole, decision: Make, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a row or a dead letter; none is tried for ever, and no good one is lost."""

    async def never(_: float) -> None:
        raise AssertionError(f"waits for a database that is there: {ledger.away}")

    monkeypatch.setattr("agents.ledger.role.asyncio.sleep", never)
    outcome = {"id": "", "customer": "c", "offer": "o", "kind": "sent", "time": 1, "value": 1.0}
    sources = {
        "alerts": encode("decision", [decision(n) for n in range(40)]),
        "offers": encode("decision", [decision(n, "offer") for n in range(40)]),
        "offer.outcomes": encode("outcome", [{**outcome, "id": str(n)} for n in range(40)]),
    }
    for seed, (topic, good) in enumerate(sources.items()):
        tp = TP(topic, 0)
        ledger.intake.positions = {tp: 0}
        values = mixed(schemas.TOPICS[topic], good, seed, COUNT // 3)
        asyncio.run(ledger.take([(tp, raw_batch(0, [(b"k", value) for value, _ in values]))]))
        assert ledger.intake.positions == {tp: len(values)}
        captured: Any = ledger.letters._outputs
        letters = [schemas.decode(sent.value)[1] for sent in captured.of("dead-letters")]
        dead = [letter["offset"] for letter in letters if letter["topic"] == topic]
        assert len(dead) == len(set(dead)) > len(values) // 10
        assert not {at for at, (_, fine) in enumerate(values) if fine} & set(dead)
        captured.sent.clear()
    counts = ledger.ledger.counts()
    assert all(counts[table] >= 33 for table in ("alerts", "offers", "outcomes"))
    assert ledger.inserted == sum(counts.values())


# -- the page


def test_the_page(decision: Make, encode: Encode) -> None:
    """Decisions that nobody would send are shown or passed over, and the page renders."""
    board = Board()
    feed = DecisionFeed("127.0.0.1:1", board, messages={}, models=lambda _layout: MODELS)
    good = encode("decision", [decision(n, ("alert", "offer")[n % 2]) for n in range(40)])
    app = create_app(board)
    for number, (value, _) in enumerate(mixed("decision", good, 6)):
        if value is not None:
            feed._show(value)
        if number % 50 == 0:
            assert "<script>" not in "".join(app.state.feed._render().values())
    assert board.decisions("alert")
    assert board.decisions("offer")


def test_the_page_reads_on_after_the_broker_was_away(monkeypatch: pytest.MonkeyPatch, until: Any) -> None:
    """An error of the client does not end the thread."""
    from confluent_kafka import KafkaException

    reads = []

    def read(self: DecisionFeed, consumer: Any) -> None:
        reads.append(1)
        if len(reads) < 3:
            raise KafkaException("away")
        self._stop.wait()

    monkeypatch.setattr(DecisionFeed, "_read", read)
    monkeypatch.setattr("streams.kafka.topic_feed.AGAIN_S", 0.01)
    monkeypatch.setattr(
        "streams.kafka.topic_feed.Consumer", lambda settings: SimpleNamespace(close=lambda: None)
    )
    feed = DecisionFeed("127.0.0.1:1", Board(), messages={}, models=lambda _layout: MODELS).start()
    until(lambda: len(reads) == 3)
    feed.stop()
