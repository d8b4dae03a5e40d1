"""The reader: each message goes on once with what its text says, through kill -9; what people correct is learned."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faust.types.tuples import TP

import agents.reader.role
import schemas
from agents.processes.supervisor import environment
from agents.reader.correction_feed import CorrectionFeed
from agents.reader.role import LARGEST_BYTES, ReaderRole
from agents.topology.topics import topics
from config.settings import ROOT, Settings, load_settings
from models.text.corrections import Correction
from models.text.message_reader import MessageReader
from schemas.topics import CORRECTIONS, MESSAGES, SOCIAL
from streams.batches.builder import raw_batch
from streams.errors import Fatal
from streams.kafka.topic_reader import Record as Tail
from tests.agents.fuzz import spoilt
from tests.doubles import CapturedOutputs, Rig
from tests.reference import batches
from tests.reference.record import Record

TOPICS = ROOT / "config" / "phrases.yaml"
ENGLISH = "I want a refund, the parcel arrived broken. I will never order from you again!"
CHINESE = "质量很好，我很满意，谢谢客服"
DRY = "Well, that was quick."


def message(number: int, text: str | None = DRY, **given: Any) -> bytes:
    record = {"message_id": f"m{number}", "time": 1_700_000_000_000 + number, "kind": "email", "text": text}
    return schemas.encode("social_event", {**record, **given})


def correction(number: int, text: str = DRY, **given: Any) -> bytes:
    record = {
        "id": f"c{number}",
        "time": number,
        "text": text,
        "sentiment": -0.75,
        "labels": {"complaint": True},
    }
    return schemas.encode("correction", {**record, **given})


@pytest.fixture
def role(tmp_path: Path) -> ReaderRole:
    """A reader that holds partition 0 from offset 0 on; nothing reaches a broker."""
    settings = load_settings(kafka="127.0.0.1:1", partitions=1, state=tmp_path, reader_port=0)
    made = ReaderRole(settings)
    made.http.server._server.server_close()
    made.outputs = CapturedOutputs()  # type: ignore[assignment]
    made.letters._outputs = made.outputs
    made.intake.assigned = True
    made.intake.positions = {TP(MESSAGES, 0): 0}
    return made


def take(role: ReaderRole, base: int, values: Sequence[bytes | None], key: bytes = b"k") -> None:
    asyncio.run(role.take([(TP(MESSAGES, 0), raw_batch(base, [(key, value) for value in values]))]))


def sent(role: ReaderRole, topic: str = SOCIAL) -> list[dict[str, Any]]:
    assert isinstance(role.outputs, CapturedOutputs)
    return [schemas.decode(one.value)[1] for one in role.outputs.of(topic)]


def test_messages_go_on_with_what_their_text_says(role: ReaderRole) -> None:
    take(role, 0, [message(0, ENGLISH), message(1, CHINESE), message(2, None, rating=2.0)])
    english, chinese, wordless = sent(role)
    assert english["sentiment"] < -0.3
    assert english["topics"] == ["delivery", "quality", "returns"]
    assert (english["complaint"], english["churn_intent"]) == (True, True)
    assert chinese["sentiment"] > 0.3
    assert (chinese["complaint"], chinese["churn_intent"]) == (False, False)
    assert (wordless["sentiment"], wordless["rating"], wordless["topics"]) == (None, 2.0, [])
    assert role.status()["messages"] == {"en": 1, "zh": 1}
    assert role.status()["unread"] == 1


def test_an_event_keeps_its_partition_key_and_id(role: ReaderRole) -> None:
    role.intake.positions = {TP(MESSAGES, 0): 0, TP(MESSAGES, 3): 0}
    asyncio.run(role.take([(TP(MESSAGES, 3), raw_batch(0, [(b"anna", message(7)), (None, message(8))]))]))
    assert isinstance(role.outputs, CapturedOutputs)
    places = [(one.partition, one.key) for one in role.outputs.of(SOCIAL)]
    assert places == [(3, b"anna"), (3, None)]
    assert [event["message_id"] for event in sent(role)] == ["m7", "m8"]


def test_what_the_sender_told_stands(role: ReaderRole) -> None:
    told = {"sentiment": 0.9, "topics": ["app"], "churn_intent": True}
    take(role, 0, [message(0, "The parcel never arrived, refund me", **told)])
    (event,) = sent(role)
    assert {name: event[name] for name in told} == told
    assert event["complaint"]


def test_messages_of_version_1_are_read(role: ReaderRole) -> None:
    old = {"message_id": "m", "time": 1_700_000_000_000, "kind": "ticket", "text": ENGLISH}
    take(role, 0, [schemas.encode("social_event", old, version=1)])
    assert sent(role)[0]["churn_intent"]


def test_poison_is_a_dead_letter_and_the_next_message_goes_on(role: ReaderRole) -> None:
    strange = schemas.encode("outcome", {"id": "i", "customer": "c", "offer": "o", "kind": "sent", "time": 1})
    take(role, 0, [b"nonsense", None, message(1), strange, message(2, "x" * LARGEST_BYTES), message(3)])
    assert [event["message_id"] for event in sent(role)] == ["m1", "m3"]
    letters = sent(role, "dead-letters")
    assert [letter["offset"] for letter in letters] == [0, 1, 3, 4]
    assert "at most 900,000" in letters[3]["reason"]
    assert len(letters[3]["value"]) == 256 << 10
    assert role.status()["dead_letters"] == {"not a message": 4}
    assert role.intake.positions == {TP(MESSAGES, 0): 6}


def test_a_damaged_batch_is_one_dead_letter(role: ReaderRole) -> None:
    batch = raw_batch(0, [(b"k", message(0))])
    batch.buf = np.zeros_like(batch.buf)
    asyncio.run(role.take([(TP(MESSAGES, 0), batch)]))
    assert sent(role) == []
    assert role.status()["dead_letters"] == {"damaged batch": 1}
    assert role.intake.positions == {TP(MESSAGES, 0): 1}


def test_a_message_that_comes_again_is_passed_on_once(role: ReaderRole) -> None:
    take(role, 0, [message(0), message(0), message(1)])
    take(role, 3, [message(0)], key=b"another customer")
    assert [event["message_id"] for event in sent(role)] == ["m0", "m1", "m0"]
    assert role.status()["repeated"] == 1


def test_what_was_sent_before_a_crash_is_not_sent_again(
    role: ReaderRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def tail(access: Any, topic: str, *, partitions: Any, **_: Any) -> list[Tail]:
        asked.append((topic, partitions))
        return [Tail(0, 0, b"k", message(1)), Tail(0, 1, b"other", message(2))]

    monkeypatch.setattr(agents.reader.role, "read_to_end", tail)
    bounds = {TP(MESSAGES, 0): (5, 9), TP(MESSAGES, 1): (4, 4)}
    assert asyncio.run(role.begin(bounds)) == {TP(MESSAGES, 0): 5, TP(MESSAGES, 1): 4}
    assert asked == [(SOCIAL, [0])]  # where nothing waits, nothing can be repeated
    role.intake.positions = {TP(MESSAGES, 0): 5}
    take(role, 5, [message(1), message(2), message(3)])
    assert [event["message_id"] for event in sent(role)] == ["m2", "m3"]


def test_nothing_is_committed_past_what_is_not_acknowledged(role: ReaderRole) -> None:
    take(role, 0, [message(0)])
    assert isinstance(role.outputs, CapturedOutputs)
    assert asyncio.run(role.commit()) == {TP(MESSAGES, 0): 1}
    assert len(role.outputs.landed) == 1
    take(role, 1, [message(1)])
    role.outputs.failure = "social.events[0]: no room"
    with pytest.raises(Fatal, match="no room"):
        asyncio.run(role.commit())


def test_partitions_that_are_taken_away_are_left_at_once(role: ReaderRole) -> None:
    async def taken_away() -> None:
        values = [(b"k", message(n)) for n in range(100)]
        taking = asyncio.ensure_future(role.take([(TP(MESSAGES, 0), raw_batch(0, values))]))
        await asyncio.sleep(0)
        role.intake._on_revoked(None, set())
        await taking

    asyncio.run(taken_away())
    assert 0 < len(sent(role)) < 100
    assert role.intake.positions == {}


def test_a_message_that_says_goodbye_is_an_alert_and_a_repeated_one_changes_no_row(role: ReaderRole) -> None:
    take(role, 0, [message(0, ENGLISH), message(1, CHINESE)], key=b"anna")
    assert isinstance(role.outputs, CapturedOutputs)
    values = [one.value for one in role.outputs.of(SOCIAL)]
    rows = []
    for sent_again in ([], values):
        records = [
            Record(SOCIAL, 0, offset, b"anna", value, 1_700_000_000_100)
            for offset, value in enumerate([*values, *sent_again])
        ]
        rig = Rig()
        rig.feed({(SOCIAL, 0): [batches.batch(records)]})
        alerts = [found["policy"] for found in rig.decoded()["alerts", 0]]
        assert alerts == ["says-goodbye"]
        ((_, row),) = rig.dump().items()
        del row[f"applied.{SOCIAL}"]
        rows.append(row)
    assert repr(rows[0]) == repr(rows[1])
    assert rows[0]["complaints_90d.x"] == rows[0]["churn_intents_90d.x"] == pytest.approx(1.0)


def test_a_correction_changes_later_readings(role: ReaderRole) -> None:
    take(role, 0, [message(0)])
    role.feed.take(0, correction(0))
    take(role, 1, [message(1)])
    before, after = sent(role)
    assert after["sentiment"] < before["sentiment"] - 0.2
    assert (before["complaint"], after["complaint"]) == (False, True)


def test_corrections_are_learned_once_in_order_and_refused_where_they_teach_nothing(role: ReaderRole) -> None:
    good = [
        correction(n, f"{word} thing", sentiment=n / 10) for n, word in enumerate(["odd", "fine", "late"])
    ]
    bad = [
        b"nonsense",
        None,
        correction(8, sentiment=2.0),
        correction(9, sentiment=None, labels={}),
        message(0),
    ]
    values = [good[0], *bad, good[1], good[0], good[2]]
    for offset, value in enumerate(values):
        role.feed.take(offset, value)
    role.feed.take(0, good[0])  # read again after an error of the client
    undisturbed = MessageReader.of(TOPICS)
    for value in good:
        told = schemas.decode(value)[1]
        undisturbed.learn(Correction(told["text"], told["sentiment"], told["labels"]))
    assert role.reader.state() == undisturbed.state()
    assert (role.status()["corrections"], role.status()["corrections_refused"]) == (3, 5)
    assert role.feed.position == len(values)
    assert "from -1 to 1" in role.feed.reasons[2]


def test_a_log_of_corrections_that_begins_late_is_told(role: ReaderRole) -> None:
    role.feed.take(4, correction(4))
    assert (role.status()["missed"], role.status()["corrections"]) == (4, 1)


def test_a_reader_is_ready_when_it_has_learned_and_holds_partitions(role: ReaderRole) -> None:
    assert role.ready() == (False, "corrections are being learned, 0 so far")
    role.feed.caught_up.set()
    assert role.ready() == (True, "")
    role.intake.assigned = False
    assert role.ready() == (False, "partitions are being assigned")


def test_corrections_are_kept_for_good_in_as_many_partitions_as_all_topics_have() -> None:
    spec = topics([SOCIAL])[CORRECTIONS]
    assert (spec.partitions, spec.config()) == (None, {"retention.ms": "-1", "retention.bytes": "-1"})


def test_every_reader_comes_to_the_same_state(broker: Any, until: Any) -> None:
    values = [correction(n, f"word{n % 7} thing{n % 5}", sentiment=(n % 9) / 4 - 1) for n in range(300)]
    broker.send(CORRECTIONS, values[:200])
    states = []
    for more in (values[200:], []):
        reader = MessageReader.of(TOPICS)
        feed = CorrectionFeed(broker.bootstrap, reader.learn).start()
        until(feed.caught_up.is_set)
        broker.send(
            CORRECTIONS, more
        )  # the first goes on while they come, the second begins with all of them
        until(lambda feed=feed: feed.learned == 300)
        feed.stop()
        states.append(reader.state())
    assert states[0] == states[1]


def test_a_kill_repeats_no_event_and_forgets_no_correction(
    broker: Any, settings: Settings, start: Any, until: Any
) -> None:
    """The promise: killed between what it sent and its commit, the reader goes on as if nothing had been."""
    env = {**os.environ, **environment(settings, True)}
    point = "streams.transport.consumer:Consumer.commit_offsets"
    told = [correction(n, f"{DRY} {n}") for n in range(20)]
    broker.send(CORRECTIONS, told)
    texts = [(ENGLISH, CHINESE, DRY)[n % 3] for n in range(60)]
    values: list[bytes | None] = [message(n, text) for n, text in enumerate(texts)]
    broker.send(MESSAGES, [*values[:20], b"nonsense", *values[20:30]], key=b"anna")
    killed = subprocess.run(
        [sys.executable, "-m", "tests.doubles.killed", point, "1", "reader"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = len(broker.values(SOCIAL))
    assert before > 0
    start("reader")
    broker.send(MESSAGES, values[30:], key=b"anna")
    until(lambda: len(broker.values(SOCIAL)) >= 60)
    twin = MessageReader.of(TOPICS)
    for value in told:
        record = schemas.decode(value)[1]
        twin.learn(Correction(record["text"], record["sentiment"], record["labels"]))
    wanted = []
    for text, number in zip(texts, range(60), strict=True):
        event = schemas.decode(message(number, text))[1]
        twin.complete(event)
        wanted.append(event)
    assert [schemas.decode(value)[1] for _, value in broker.values(SOCIAL)] == wanted
    letters = {schemas.decode(value)[1]["offset"] for _, value in broker.values("dead-letters")}
    assert letters == {20}


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment(settings, True)}
    command = [sys.executable, "-m", "cli", "corrections", "send", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def test_corrections_are_sent_from_a_file_and_learned_once(
    broker: Any, settings: Settings, until: Any, tmp_path: Path
) -> None:
    file = tmp_path / "told.jsonl"
    lines = [{"text": DRY, "sentiment": -0.5, "by": "eve"}, {"text": CHINESE, "labels": {"complaint": False}}]
    file.write_text(
        "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n", encoding="utf-8"
    )
    for _ in range(2):  # the second time nothing new is said
        done = run(settings, str(file), "--json")
        assert json.loads(done.stdout) == {"sent": 2}, done.stderr
    assert (
        "1 correction sent"
        in run(settings, "--text", "Meh", "--label", "complaint", "--label", "app=no").stdout
    )
    learned: list[Correction] = []
    feed = CorrectionFeed(broker.bootstrap, learned.append).start()
    until(feed.caught_up.is_set)
    feed.stop()
    assert [(one.text, one.sentiment, one.labels) for one in learned] == [
        (DRY, -0.5, {}),
        (CHINESE, None, {"complaint": False}),
        ("Meh", None, {"complaint": True, "app": False}),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_is_an_event_or_a_dead_letter(role: ReaderRole, seed: int) -> None:
    good = [message(n, text) for n, text in enumerate((ENGLISH, CHINESE, DRY, None))]
    spoiled = spoilt("social_event", good, seed, 600)
    take(role, 0, [*spoiled, *[message(n) for n in range(1000, 1050)]])
    dead = sent(role, "dead-letters")
    events = sent(role)
    assert len(dead) + len(events) + role.repeated == len(spoiled) + 50
    assert min(len(dead), len(events)) > 50
    assert [event["message_id"] for event in events[-50:]] == [f"m{n}" for n in range(1000, 1050)]
    for offset, value in enumerate(spoilt("correction", [correction(n) for n in range(9)], seed, 600)):
        role.feed.take(offset, value)
    assert role.feed.refused > 50
    assert -1.0 <= role.reader.read(DRY).sentiment <= 1.0
    assert MessageReader.restore(role.reader.state(), role.reader.topics).state() == role.reader.state()
