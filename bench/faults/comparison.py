"""Compares what the disturbed roles made of the topics with what the undisturbed pass made.

An event missing from the counts of a row is lost; one too many is counted as twice. A row that differs in any other
compared word counts as one lost event, as the effect of some event is missing. Outputs are counted by id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from customers.row import Layout

from .declared import COUNTS, ORDER_FREE, ORDER_FREE_POLICIES
from .oracle import State

SHOWN = 8  # differences of a kind that are reported in full
# Fields that depend on the snapshot in use, and so on when the learner published it.
_BY_SNAPSHOT = ("score", "snapshot")


@dataclass(slots=True)
class Differences:
    """Counts missing and surplus events and outputs, and describes the first of each."""

    lost: int = 0
    twice: int = 0
    outputs_missing: int = 0
    outputs_twice: int = 0
    told: list[str] = field(default_factory=list)

    def tell(self, line: str) -> None:
        """Keep a line of the report, unless there are enough."""
        if len(self.told) < SHOWN * 4 and sum(t.split()[0] == line.split()[0] for t in self.told) < SHOWN:
            self.told.append(line)

    @property
    def none(self) -> bool:
        """Whether there are no differences."""
        return not (self.lost or self.twice or self.outputs_missing or self.outputs_twice)


def punctual(customer: bytes | str) -> bool:
    """Whether the customer is punctual (bench.faults.load), so that everything of theirs is compared."""
    return customer[:1] not in (b"l", "l")


class Words:
    """Compares rows word by word, with the names of the words."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        every = {group.name: (group.start, group.start + group.words) for group in layout.groups}
        free = {
            name: span for name, span in every.items() if name in ORDER_FREE or name.startswith("applied:")
        }
        self.exact, self.free = every, free
        # in an example: the score and the snapshot version at its opening
        self.masked = [at + word for at in layout.example_at.values() for word in (2, 3)]
        self.counts = [layout.column_at[name] for name in COUNTS]

    def compare(self, key: tuple[int, bytes], expected: Any, found: Any, into: Differences) -> None:
        """Compare one row."""
        if found is None:
            found = self._layout.default_row
        differs = self._differing(key[1], expected, found)
        counted = [float(found[at] - expected[at]) for at in self.counts]
        lost = int(-sum(c for c in counted if c < 0))
        twice = int(sum(c for c in counted if c > 0))
        if differs and not lost and not twice:
            lost = 1
        into.lost += lost
        into.twice += twice
        if differs:
            shown = {
                name: [one.tolist() for one in (self._words(name, expected), self._words(name, found))]
                for name in differs[:4]
            }
            into.tell(f"row {key}: expected and found {shown}")

    def _words(self, name: str, row: Any) -> Any:
        start, stop = self.exact[name]
        whole = name.startswith("applied:") or name == "message_ids"
        return row.view(np.int64)[start:stop] if whole else row[start:stop]

    def _differing(self, customer: bytes, expected: Any, found: Any) -> list[str]:
        spans = self.exact if punctual(customer) else self.free
        unequal = expected.view(np.int64) != found.view(np.int64)
        unequal[self.masked] = False
        return [name for name, (start, stop) in spans.items() if unequal[start:stop].any()]


def compare_rows(layout: Layout, expected: State, found: State, into: Differences) -> None:
    """Compare every row; the events of a row that should not exist count as twice."""
    words = Words(layout)
    for key, row in sorted(expected.rows.items()):
        words.compare(key, row, found.rows.get(key), into)
    for key in sorted(found.rows.keys() - expected.rows.keys()):
        into.twice += int(found.rows[key][words.counts].sum()) or 1
        into.tell(f"row {key}: nobody should have it")


def compare_outputs(expected: State, found: State, into: Differences) -> None:
    """Compare alerts, offers and examples in their topics: each expected id must be there, with one content."""
    should = {place for place, (record, *_) in expected.outputs.items() if _certain(record)}
    for place in sorted(should - found.outputs.keys()):
        into.outputs_missing += 1
        into.tell(f"missing {place}")
    for place, records in sorted(found.outputs.items()):
        if not _certain(records[0]):
            continue
        contents = [_content(record) for record in records]
        if place not in should or any(content != contents[0] for content in contents):
            into.outputs_twice += 1
            into.tell(f"twice {place}: {_unlike(contents[0], contents[-1])}")
        elif contents[0] != _content(expected.outputs[place][0]):
            into.outputs_missing += 1
            into.tell(f"wrong {place}: {_unlike(contents[0], _content(expected.outputs[place][0]))}")


def _certain(record: Mapping[str, Any]) -> bool:
    """Whether the record depends only on the events, not on their order across topics."""
    return punctual(record["customer"]) or record.get("policy") in ORDER_FREE_POLICIES


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what differs."""
    differing = [name for name, value in one.items() if other.get(name) != value]
    return {name: (_short(one[name]), _short(other.get(name))) for name in differing} or {
        "alike": one.get("time")
    }


def _short(value: Any) -> Any:
    return np.frombuffer(value).tolist()[:12] if isinstance(value, bytes) and len(value) % 8 == 0 else value


def _content(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that do not depend on snapshots; for late customers, nor on order."""
    kept = {name: value for name, value in record.items() if name not in _BY_SNAPSHOT}
    receipt = kept.pop("receipt", None)
    if receipt is not None:
        seen = ("layout", "fields", "values") if punctual(record["customer"]) else ("layout", "fields")
        kept |= {name: np.array(receipt[name]).tobytes() for name in seen}
    if not punctual(record["customer"]):
        del kept["time"]  # the row's clock, which depends on the order of events
    if "features" in kept:
        kept["features"] = np.array(kept["features"], np.float32).tobytes()
    return kept


def compare_letters(expected: set[Any], found: set[Any], into: Differences) -> None:
    """Compare dead letters: each poison record must have one, and no other record."""
    for place in sorted(expected - found):
        into.outputs_missing += 1
        into.tell(f"letter of {place} is missing")
    for place in sorted(found - expected):
        into.outputs_twice += 1
        into.tell(f"letter of {place}, which is good")


def compare_sql(
    name: str, rows: Mapping[str, list[Mapping[str, Any]]], found: State, into: Differences
) -> None:
    """Compare `rows` by topic: SQL must hold each id of the topic once, with its first content in the topic."""
    for topic, held in rows.items():
        there = {row["id"]: row for row in held}
        into.outputs_twice += len(held) - len(there)
        wanted = {key: records for (of, key), records in found.outputs.items() if of == topic}
        for key in sorted(wanted.keys() - there.keys()):
            into.outputs_missing += 1
            into.tell(f"sql {name} lacks {topic} {key}")
        for key in sorted(there.keys() - wanted.keys()):
            into.outputs_twice += 1
            into.tell(f"sql {name} has {topic} {key}, which the topic has not")
        for key in sorted(there.keys() & wanted.keys()):
            row, first = _row(there[key]), _row(_flat(wanted[key][0]))
            if row != first:
                into.outputs_missing += 1
                into.tell(f"sql {name} {topic} {key}: {_unlike(row, first)}")


def compare_learned(learned: Mapping[str, int], found: State, into: Differences) -> None:
    """Compare `learned` by model: each example in the topic must have been learned exactly once."""
    ids = [
        (key, records[0]["model"]) for (topic, key), records in found.outputs.items() if "model" in records[0]
    ]
    for model in sorted({model for _, model in ids} | learned.keys()):
        wanted = sum(of == model for _, of in ids)
        more = learned.get(model, 0) - wanted
        into.outputs_missing += max(0, -more)
        into.outputs_twice += max(0, more)
        if more:
            into.tell(f"learned {learned.get(model, 0)} examples of {model} of {wanted}")


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    receipt = record["receipt"]
    packed = {name: np.array(receipt[name], "<f8").tobytes() for name in ("scores", "fields", "values")}
    packed["snapshots"] = np.array(receipt["snapshots"], "<i8").tobytes()
    return {**record, **packed, "layout": receipt["layout"]}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "customer", "policy", "kind", "time", "cause", "topic", "partition", "offset", "layout")
    packed = ("snapshots", "scores", "fields", "values")
    return {name: row[name] for name in names} | {name: bytes(row[name]) for name in packed}
