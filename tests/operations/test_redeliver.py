"""What a letter says of its record, and what is sent when the original is gone."""

from __future__ import annotations

from typing import Any

import pytest

import schemas
from operations.dead_letters import DeadLetterFilter, DeadLetterIndex, Letter, detail, summary, summary_lines
from operations.redeliver import Record, _checked, _of_letter, originals
from streams.engine.engine import LETTER_BYTES
from streams.errors import Fatal

LETTER = Letter("sales.events", 0, 7, "the schema id is not one of this topic", b"k", b"value", 1000, 3)
WHOLE = b"x" * (LETTER_BYTES + 1)


class Message:
    """A record as the client gives it."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        self._given = offset, key, value

    def offset(self) -> int:
        return self._given[0]

    def key(self) -> bytes | None:
        return self._given[1]

    def value(self) -> bytes | None:
        return self._given[2]

    def headers(self) -> list[tuple[str, bytes]]:
        return [("trace", b"1")]

    def timestamp(self) -> tuple[int, int]:
        return 1, 999


def test_the_original_is_taken_whole_where_the_letter_is_cut() -> None:
    cut = LETTER._replace(value=WHOLE[:LETTER_BYTES])
    assert cut.cut
    assert _checked(cut, Message(7, b"k", WHOLE)) == Record(b"k", WHOLE, [("trace", b"1")], 999)
    assert _of_letter(cut) is None, "a part of a record is never sent"


@pytest.mark.parametrize(
    "message", [None, Message(8, b"k", b"value"), Message(7, b"k", b"other"), Message(7, None, b"value")]
)
def test_another_record_at_its_place_is_not_the_original(message: Any) -> None:
    """As in a topic that was made anew."""
    assert _checked(LETTER, message) is None
    assert _of_letter(LETTER) == Record(b"k", b"value", [], 1000)


def test_a_letter_without_bytes_cannot_be_sent() -> None:
    assert _of_letter(LETTER._replace(value=None)) is None


def test_originals_are_read_near_and_far_and_those_that_are_gone_are_told(broker: Any) -> None:
    values = [b"%d" % n for n in range(3000)]
    broker.send("sales.events", list(values))
    offsets = [2, 3, 2990, 2999, 5000]
    letters = [LETTER._replace(offset=n, value=None if n == 3 else b"%d" % n) for n in offsets]
    nowhere = LETTER._replace(topic="not.there")
    found = list(originals(broker.bootstrap, [*letters, nowhere]))
    assert [letter for letter, _ in found] == [*letters, nowhere]
    assert [record and record.value for _, record in found] == [b"2", b"3", b"2990", b"2999", None, None]


def box() -> DeadLetterIndex:
    found = DeadLetterIndex()
    for offset, reason, time_ms in (
        (7, "the schema id", 1000),
        (8, "the schema id", 9000),
        (9, "the key", 5000),
    ):
        record = {"topic": "web.events", "partition": 1, "offset": offset, "reason": reason, "key": b"k",
                  "value": b"\0\0\0\0\x63v", "time": time_ms}  # fmt: skip
        for _ in range(2):  # a worker that was killed sends it again
            found._take(3, b"web.events:1:%d" % offset, schemas.encode("dead_letter", record))
    found._take(3, b"\0replayed:web.events:1:8", b'{"time": 77}')
    found._take(3, b"nonsense", b"nonsense")
    return found


def test_letters_are_counted_once_by_topic_and_reason() -> None:
    told = summary(box(), DeadLetterFilter())
    first = {"topic": "web.events", "reason": "the schema id", "letters": 2, "replayed": 1, "first_ms": 1000,
             "last_ms": 9000, "example": "web.events:1:7"}  # fmt: skip
    assert told["groups"][0] == first
    assert [group["letters"] for group in told["groups"]] == [2, 1]
    assert told["unreadable"] == 1
    assert (
        "(1 replayed; 1970-01-01 00:00:01 to 1970-01-01 00:00:09; such as web.events:1:7)"
        in summary_lines(told)[0]
    )
    assert summary_lines({"groups": [], "unreadable": 0}) == ["no dead letters"]


@pytest.mark.parametrize(
    ("choice", "offsets"),
    [
        (DeadLetterFilter(reason="schema"), [7, 8]),
        (DeadLetterFilter(topic="sales.events"), []),
        (DeadLetterFilter(since_ms=5000), [8, 9]),
        (DeadLetterFilter(until_ms=5000), [7]),
    ],
)
def test_letters_are_chosen(choice: DeadLetterFilter, offsets: list[int]) -> None:
    assert [letter.offset for letter in box().chosen(choice)] == offsets


def test_one_letter_is_shown() -> None:
    shown = detail(box(), "web.events:1:8")
    assert (shown["replayed_ms"], shown["key"], shown["cut"]) == (77, "k", False)
    assert "unknown schema id 99" in shown["undecoded"]
    with pytest.raises(Fatal, match="expected TOPIC:PARTITION:OFFSET"):
        detail(box(), "web.events:1:10")
