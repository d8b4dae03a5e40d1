"""Reads the topic of dead letters to its end: the letters, and which of them were replayed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import schemas
from schemas.topics import DEAD_LETTERS
from streams.engine import LETTER_BYTES
from streams.errors import Fatal
from streams.kafka import Kafka, read_to_end

# A record whose key is this and the letter's id says that the letter was replayed. It follows the letter in
# the same partition, so that retention never deletes it first.
REPLAYED_KEY = b"\0replayed:"
GROUP = "streamwise-dead-letters"  # joined by nobody


class Letter(NamedTuple):
    """A record that could not be processed: its position, the reason, its bytes (truncated if many) and append time.

    `partition_here`: the partition of the letter itself.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    time_ms: int
    partition_here: int

    @property
    def id(self) -> str:
        """The position of the record: TOPIC:PARTITION:OFFSET."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def cut(self) -> bool:
        """Whether the letter may hold only a part of the record."""
        return max(len(self.key or b""), len(self.value or b"")) >= LETTER_BYTES


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Chooses letters; a part of the reason is enough."""

    reason: str = ""
    topic: str = ""
    since_ms: int = 0
    until_ms: int = 1 << 62

    def takes(self, letter: Letter) -> bool:
        """Whether the filter chooses this letter."""
        named = self.reason in letter.reason and self.topic in ("", letter.topic)
        return named and self.since_ms <= letter.time_ms < self.until_ms


@dataclass(slots=True)
class DeadLetterIndex:
    """Every letter once, by its id, and the time of each replay (ms since 1970), by letter id."""

    letters: dict[str, Letter] = field(default_factory=dict)
    replayed: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0

    def chosen(self, choice: DeadLetterFilter) -> list[Letter]:
        """Return the chosen letters in the order of their records' positions."""
        found = [letter for letter in self.letters.values() if choice.takes(letter)]
        return sorted(found, key=lambda letter: letter[:3])

    def _take(self, number: int, key: bytes, value: bytes) -> None:
        if key.startswith(REPLAYED_KEY):
            self.replayed[key[len(REPLAYED_KEY) :].decode()] = int(json.loads(value)["time"])
            return
        try:
            name, letter = schemas.decode(value)
        except schemas.SchemaError:
            name, letter = "", {}
        if name != "dead_letter":
            self.unreadable += 1
            return
        names = ("topic", "partition", "offset", "reason", "key", "value", "time")
        found = Letter._make([*(letter[name] for name in names), number])
        self.letters[found.id] = found


def read_letters(bootstrap: Kafka) -> DeadLetterIndex:
    """All that is there now. Raises `Retryable` when the topic cannot be read to its end."""
    box = DeadLetterIndex()
    for record in read_to_end(bootstrap, DEAD_LETTERS, group=GROUP):
        box._take(record.partition, record.key or b"", record.value or b"")
    return box


# -- what the commands tell ------------------------------------------------------------------------------


def summary(box: DeadLetterIndex, choice: DeadLetterFilter) -> dict[str, Any]:
    """Report of `streamwise dead-letters list`: counts by topic and reason, highest first."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for letter in box.chosen(choice):
        at = letter.topic, letter.reason
        new = {"topic": letter.topic, "reason": letter.reason, "letters": 0, "replayed": 0, "first_ms": letter.time_ms,
               "last_ms": letter.time_ms, "example": letter.id}  # fmt: skip
        group = groups.setdefault(at, new)
        group["letters"] += 1
        group["replayed"] += letter.id in box.replayed
        group["first_ms"] = min(group["first_ms"], letter.time_ms)
        group["last_ms"] = max(group["last_ms"], letter.time_ms)
    ordered = sorted(groups.values(), key=lambda group: (-group["letters"], group["topic"], group["reason"]))
    return {"groups": ordered, "unreadable": box.unreadable}


def summary_lines(report: dict[str, Any]) -> list[str]:
    """Format the summary for people."""
    found = [
        f"{group['letters']:>8,}  {group['topic']:<18} {group['reason']} ({group['replayed']:,} replayed; "
        f"{_date(group['first_ms'])} to {_date(group['last_ms'])}; such as {group['example']})"
        for group in report["groups"]
    ]
    if report["unreadable"]:
        found.append(f"{report['unreadable']:>8,}  records that are not dead letters")
    return found or ["no dead letters"]


def detail(box: DeadLetterIndex, letter_id: str) -> dict[str, Any]:
    """Report of `streamwise dead-letters show`: one letter, its record decoded if possible."""
    letter = box.letters.get(letter_id)
    if letter is None:
        raise Fatal(
            f"no dead letter {letter_id!r}: expected TOPIC:PARTITION:OFFSET, as `dead-letters list` shows them"
        )
    key, value = letter.key, letter.value
    report: dict[str, Any] = {
        "topic": letter.topic, "partition": letter.partition, "offset": letter.offset, "reason": letter.reason,
        "time_ms": letter.time_ms, "key": None if key is None else key.decode("utf-8", "backslashreplace"),
        "value_bytes": None if value is None else len(value), "cut": letter.cut,
        "replayed_ms": box.replayed.get(letter.id),
    }  # fmt: skip
    try:
        report["schema"], report["record"] = schemas.decode(value or b"")
    except schemas.SchemaError as error:
        report["undecoded"] = str(error)
        report["value_hex"] = (value or b"")[:1024].hex()
    return report


def detail_lines(report: dict[str, Any]) -> list[str]:
    """Format the detail for people."""
    when = {"time_ms": "appended", "replayed_ms": "replayed"}
    shown = {when.get(name, name): _date(v) if name in when and v else v for name, v in report.items()}
    return [f"{name:<12} {_text(value)}" for name, value in shown.items()]


def _text(value: Any) -> str:
    return (
        json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    )


def _date(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
