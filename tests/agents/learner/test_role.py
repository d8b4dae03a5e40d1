"""The learner: each example once, through kill -9; what cannot be learned is a dead letter."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types.tuples import TP

import schemas
from agents.learner.published import ModelSnapshots, _take, read_published
from agents.learner.role import VERSIONS_KEPT, LearnerRole
from config.settings import Settings, load_settings
from customers.row.layout import Described
from models.config import load_models
from models.example import Example
from models.learning.learner import Learner
from streams.batches.builder import raw_batch
from tests.doubles import CapturedOutputs
from tests.doubles.outputs import CapturedChangelog

TOPIC = "training.examples"
Encode = Callable[[str, Sequence[dict[str, Any]]], list[bytes]]
MakeExample = Callable[..., dict[str, Any]]


@pytest.fixture
def role(tmp_path: Path) -> LearnerRole:
    """A learner that holds partition 0 from offset 0 on; nothing reaches a broker."""
    settings = load_settings(kafka="127.0.0.1:1", partitions=1, state=tmp_path, learner_port=0)
    made = LearnerRole(settings, wall_clock_ms=lambda: 5)
    made.http.server._server.server_close()
    made.outputs = captured = CapturedOutputs()  # type: ignore[assignment]
    made.letters._outputs = made.outputs
    made.snapshots.close()
    made.snapshots = CapturedChangelog("models", captured)  # type: ignore[assignment]
    made.whole = made.intake.assigned = True
    made.intake.positions = {TP(TOPIC, 0): 0}
    for family in made.families.values():
        made._take_up(family, {})
    return made


def outputs(role: LearnerRole) -> CapturedOutputs:
    assert isinstance(role.outputs, CapturedOutputs)
    return role.outputs


def test_an_example_of_another_version_is_learned_by_name(
    role: LearnerRole, example: MakeExample, encode: Encode
) -> None:
    theirs = ("not here", *reversed(role.features[1:]))  # the first of ours it does not have
    described = {9: Described((), (), {"purchase": theirs})}
    role.layouts = SimpleNamespace(get=described.get)  # type: ignore[assignment]
    sent = [example(n, layout=9) for n in range(30)]
    unknown = [example(31, layout=8), example(32, "churn", layout=9)]
    take(role, 0, encode("training_example", [*sent, *unknown]))
    twin = Learner("purchase", role.features)
    for record in sent:
        named = dict(zip(theirs, record["features"], strict=True))
        ours = [named.get(name, math.nan) for name in role.features]
        twin.learn(
            Example.from_record(
                schemas.decode(encode("training_example", [{**record, "features": ours}])[0])[1]
            )
        )
    assert role.families["purchase"].leader.snapshot(0).state == twin.snapshot(0).state
    reasons = [schemas.decode(sent.value)[1]["reason"] for sent in outputs(role).of("dead-letters")]
    assert ["nobody described layout 8" in reasons[0], "nobody described layout 9" in reasons[1]] == [
        True,
        True,
    ]


def take(role: LearnerRole, base: int, values: Sequence[bytes | None]) -> None:
    asyncio.run(role.take([(TP(TOPIC, 0), raw_batch(base, [(b"k", value) for value in values]))]))


def test_poisonous_examples_are_dead_letters_and_the_next_is_learned(
    role: LearnerRole, example: MakeExample, encode: Encode
) -> None:
    good = encode("training_example", [example(1), example(2)])
    short = encode(
        "training_example", [example(3, features=[1.0]), example(4, label=7), example(5, model="nobody")]
    )
    take(role, 0, [b"nonsense", None, good[0], *short, good[1]])
    assert role.families["purchase"].leader.examples == 2
    letters = [schemas.decode(sent.value)[1] for sent in outputs(role).of("dead-letters")]
    assert [letter["offset"] for letter in letters] == [0, 1, 3, 4, 5]
    assert str(len(role.features)) in letters[2]["reason"]
    assert role.status()["dead_letters"] == {"not a training example": 5}
    assert role.intake.positions == {TP(TOPIC, 0): 7}


def test_offsets_that_a_snapshot_holds_are_skipped(
    role: LearnerRole, example: MakeExample, encode: Encode
) -> None:
    role._applied["purchase", "main"] = {0: 1}
    take(role, 0, encode("training_example", [example(n) for n in range(3)]))
    assert role.families["purchase"].leader.examples == 1


def test_an_example_that_comes_again_is_not_learned_again(
    role: LearnerRole, example: MakeExample, encode: Encode
) -> None:
    """A worker that was killed sends what it sent since its last commit again, under the same ids."""
    values = encode("training_example", [example(1), example(2), example(3)])
    take(role, 0, values)
    take(role, 3, [values[1], values[2], b"nonsense", b"nonsense"])
    assert role.families["purchase"].leader.examples == 3
    assert role.status()["repeated"] == 2
    assert role.status()["dead_letters"] == {"not a training example": 2}
    assert role.intake.positions == {TP(TOPIC, 0): 7}


def test_ids_before_what_is_wanted_are_noted_and_no_more(
    role: LearnerRole, example: MakeExample, encode: Encode
) -> None:
    """After a restart the learner reads some examples that it has learned: one of them may come again."""
    role._wanted = {TP(TOPIC, 0): 3}
    values = encode("training_example", [example(1), example(2), example(3)])
    take(role, 0, [values[0], b"nonsense", values[1]])
    assert role.families["purchase"].leader.examples == 0
    assert outputs(role).of("dead-letters") == []
    assert asyncio.run(role.commit()) == {TP(TOPIC, 0): 3}
    take(role, 3, [values[1], values[2]])
    assert role.families["purchase"].leader.examples == 1


def test_a_commit_publishes_what_changed_with_the_offsets_applied(
    role: LearnerRole, example: MakeExample, encode: Encode
) -> None:
    take(role, 0, encode("training_example", [example(n) for n in range(3)]))
    assert asyncio.run(role.commit()) == {TP(TOPIC, 0): 3}
    (sent,) = outputs(role).of("models")
    record = schemas.decode(sent.value)[1]
    assert (sent.key, record["applied"], record["examples"], record["created"]) == (
        b"purchase/1",
        {"0": 2},
        3,
        5,
    )
    asyncio.run(role.commit())
    assert len(outputs(role).of("models")) == 1


def test_old_versions_are_tombstoned(role: LearnerRole, example: MakeExample, encode: Encode) -> None:
    for number in range(VERSIONS_KEPT + 2):
        take(role, number, encode("training_example", [example(number)]))
        asyncio.run(role.commit())
    tombstones = [sent.key for sent in outputs(role).of("models") if sent.value is None]
    assert tombstones == [b"purchase/1", b"purchase/2"]


def test_with_a_part_of_the_partitions_nothing_is_learned_or_published(role: LearnerRole) -> None:
    role.settings = role.settings.model_copy(update={"partitions": 2})
    assert asyncio.run(role.begin({TP(TOPIC, 0): (0, 10)})) == {}
    assert asyncio.run(role.commit()) == {}
    assert role.ready() == (False, "another learner is in the group: learning waits until one of them ends")


def test_examples_that_are_gone_are_told(
    role: LearnerRole,
    example: MakeExample,
    encode: Encode,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: Any,
) -> None:
    """One waits that the broker has dropped meanwhile."""
    take(role, 0, encode("training_example", [example(1, due=10**9), example(2)]))
    asyncio.run(role.commit())
    sent = outputs(role).of("models")[-1]
    published: dict[str, ModelSnapshots] = {}
    _take(published, sent.key, sent.value)
    monkeypatch.setattr("agents.learner.role.read_published", lambda *_: published)

    async def earliest(bounds: Any) -> dict[TP, int]:
        return dict.fromkeys(bounds, first)

    async def alone() -> None:
        return None

    monkeypatch.setattr(role.intake, "earliest", earliest)
    monkeypatch.setattr(role, "_write_alone", alone)
    for first, gone in ((0, False), (1, True)):
        caplog.clear()
        assert asyncio.run(role.begin({TP(TOPIC, 0): (2, 2)})) == {TP(TOPIC, 0): first}
        assert ("are gone; keep the topic" in caplog.text) == gone


def test_a_kill_loses_and_repeats_no_example(
    broker: Any, settings: Settings, start: Any, until: Any, example: MakeExample, encode: Encode
) -> None:
    """The promise: after kill -9 in mid-stream the weights are those of an undisturbed run, and so are the trees and
    the examples that wait."""
    made = [
        example(number, ("purchase", "churn")[number % 2], due=1000 * number + 500 + number % 3 * 200_000)
        for number in range(6000)
    ]
    values = encode("training_example", made)

    def published(model: str) -> Any:
        found = read_published(settings.kafka, "models").get(model)
        return found.snapshots[max(found.snapshots)] if found and found.snapshots else None

    first = start("learner")
    broker.send(TOPIC, values[:3000])
    until(lambda: published("churn"))  # some are learned and published, some are not
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    broker.send(TOPIC, values[3000:])
    start("learner")
    until(lambda: all((s := published(m)) and s.metrics["taken"] == 3000 for m in ("purchase", "churn")))

    features = load_models(settings.config / "models.yaml").names
    for model in ("purchase", "churn"):
        undisturbed = Learner(model, features)
        for offset, record in enumerate(made):
            if record["model"] == model:
                decoded = schemas.decode(schemas.encode("training_example", record))[1]
                undisturbed.learn(Example.from_record(decoded), 0, offset)
        wanted, found = undisturbed.snapshot(0), published(model)
        assert 2000 < wanted.examples < 3000
        for part in ("examples", "bias", "weights", "mixing", "table", "trees"):
            assert getattr(found, part) == getattr(wanted, part)
        assert found.applied["0"] == 5999


def test_amounts_are_learned(role: LearnerRole, example: MakeExample, encode: Encode) -> None:
    take(role, 0, encode("training_example", [example(1, "value", label=0, amount=12.5), example(2)]))
    assert (role.taken, role.families["value"].leader.examples) == (2, 1)
    asyncio.run(role.commit())
    kinds = {
        r["model"]: r["kind"] for r in (schemas.decode(sent.value)[1] for sent in outputs(role).of("models"))
    }
    assert kinds == {"purchase": "mixture", "value": "amount"}
    assert set(role.status()["period"]) == {"purchase"}
    assert not outputs(role).of("dead-letters")


def test_a_wish_that_cannot_be_granted_is_a_dead_letter(role: LearnerRole, encode: Encode) -> None:
    wish = {"id": "w", "model": "purchase", "to": "x", "time": 1}
    other = {"id": "v", "model": "nobody", "to": "x", "time": 1}
    take(role, 0, encode("model_change", [wish, other]))
    reasons = [schemas.decode(sent.value)[1]["reason"] for sent in outputs(role).of("dead-letters")]
    assert "purchase has no challenger 'x'; expected one of: it has none" in reasons[0]
    assert "config/models.yaml declares no model nobody" in reasons[1]
