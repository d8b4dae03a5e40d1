"""Event logs: a seeded generator and Hypothesis strategies, both by way of a list of `Step`s.

A step is one record to be. Steps are turned into logs by `build`, so that what Hypothesis shrinks is a list
of plain steps. A customer stays in one partition number, over all topics.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

import schemas
from tests.reference import batches
from tests.reference.hashing import hash64
from tests.reference.record import Log, Record

SCHEMAS = {number: schemas.by_id(number) for number in (1, 2, 3, 4, 5, 13, 17)}
TOPICS = ("web.events", "social.events", "sales.events", "offer.outcomes")
KINDS = {
    "web.events": ("page", "search", "view", "cart_add", "cart_remove", "checkout", "other"),
    "social.events": ("mention", "review", "email", "ticket", "survey", "other"),
    "sales.events": ("order", "return", "other"),
    "offer.outcomes": ("sent", "redeemed", "dismissed", "other"),
}
NEW_KINDS = ("subscription", "quote")  # only version 2 of sales_event has them
BAD = (
    "null key",
    "empty key",
    "null value",
    "empty value",
    "short frame",
    "magic",
    "unknown schema",
    "schema of another topic",
    "cut short",
    "trailing bytes",
    "enum beyond its symbols",
    "text not UTF-8",
    "time too early",
    "time too late",
    "below its bound",
    "above its bound",
    "infinite",
    "not a number",
    "enum below zero",
    "key not UTF-8",
    "key too long",
    "key led by a zero byte",
    "ahead of its append",
)
VERSIONED = ("social.events", "sales.events", "offer.outcomes")
START_MS = 1_700_000_000_000
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
CATEGORIES = (None, "", "shoes", "Käse", "a category with quite a long name")


@dataclass(frozen=True)
class Line:
    quantity: float = 1.0
    category: str | None = None


@dataclass(frozen=True)
class Step:
    """One record to be. `advance_ms` moves the running time on, `behind_ms` puts this event before it."""

    topic: str
    customer: int
    kind: str
    advance_ms: int = 0
    behind_ms: int = 0
    number: float | None = None  # the value, sentiment and rating, or amount
    category: str | None = None
    lines: tuple[Line, ...] = ()
    version: int = 1  # of all but web_event, which has one
    repeats: int = 0  # carries the message id of the customer's event this many before; 0: its own
    bad: str | None = None
    skipped_offsets: int = 0  # as compaction leaves them before this record


@dataclass
class _Running:
    """What `build` has to remember from one step to the next."""

    now_ms: int = START_MS
    next_offset: dict[tuple[str, int], int] = field(default_factory=dict)
    message_ids: dict[int, list[str]] = field(default_factory=dict)


def customer_key(customer: int) -> bytes:
    """Keys of any length, so that hashing sees whole and broken words."""
    return f"customer-{customer}".encode() * (1 + customer % 3)


def partition_of(customer: int, partitions: int) -> int:
    return hash64(customer_key(customer)) % partitions


def build(steps: Iterable[Step], partitions: int = 1, start_ms: int = START_MS) -> Log:
    """The log of `steps`: {(topic, partition): records in offset order}, with every topic and partition."""
    running = _Running(now_ms=start_ms)
    log: Log = {(topic, number): [] for topic in TOPICS for number in range(partitions)}
    for index, step in enumerate(steps):
        number = partition_of(step.customer, partitions)
        record = _record(step, index, number, running)
        log[step.topic, number].append(record)
    return log


def _record(step: Step, index: int, number: int, running: _Running) -> Record:
    running.now_ms += step.advance_ms
    place = (step.topic, number)
    offset = running.next_offset.get(place, 0) + step.skipped_offsets
    running.next_offset[place] = offset + 1
    known = running.message_ids.setdefault(step.customer, [])
    message_id = known[-step.repeats] if 0 < step.repeats <= len(known) else f"message {index}"
    known.append(message_id)
    event = body(step, message_id, running.now_ms - step.behind_ms)
    key, value = _spoilt(step, customer_key(step.customer), event)
    return Record(step.topic, number, offset, key, value, running.now_ms)


def body(step: Step, message_id: str, time_ms: int) -> dict[str, Any]:
    """The event of a good step, as its schema has it."""
    number = step.number
    if step.topic == "offer.outcomes":
        outcome: dict[str, Any] = {"id": message_id, "customer": customer_key(step.customer).decode()}
        outcome |= {"offer": f"offer of {step.category}", "kind": step.kind, "time": time_ms, "value": number}
        return {**outcome, "type": step.category or ""} if step.version == 2 else outcome
    event: dict[str, Any] = {"message_id": message_id, "time": time_ms, "kind": step.kind}
    if step.topic == "web.events":
        properties = {"from": "newsletter"} if step.customer % 2 else {}
        return event | {
            "url": f"/{step.kind}",
            "product": None if step.category is None else f"product of {step.category}",
            "category": step.category,
            "value": number,
            "properties": properties,
        }
    if step.topic == "social.events":
        sentiment = None if number is None else max(-1.0, min(1.0, number / 10))
        rating = None if number is None else max(0.0, min(10.0, number))
        text = "says something" if step.customer % 2 else None
        said: dict[str, Any] = {
            "channel": step.category,
            "sentiment": sentiment,
            "rating": rating,
            "text": text,
        }
        if step.version == 2:
            said["topics"] = [] if step.category is None else ["app", step.category]
            said["complaint"] = number is not None and number <= 0
            said["churn_intent"] = step.kind == "ticket"
        return event | said
    lines = [
        {
            "product": f"product {index}",
            "category": line.category,
            "quantity": line.quantity,
            "amount": line.quantity * 2.5,
            "discount": 0.0,
        }
        for index, line in enumerate(step.lines)
    ]
    event |= {"order_id": f"order {message_id}", "amount": number or 0.0, "discount": 0.0, "lines": lines}
    if step.version == 2:
        event |= {"store": step.category, "currency": "EUR"}
    return event


def framed(topic: str, event: dict[str, Any], version: int = 1) -> bytes:
    return schemas.encode(schemas.TOPICS[topic], event, version)


def _spoilt(step: Step, key: bytes, event: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
    """Key and value of the step, made bad in the way that it names."""
    outcome = step.topic == "offer.outcomes"
    bounded = {"social.events": "rating", "sales.events": "amount"}.get(step.topic, "value")
    identity = "id" if outcome else "message_id"
    early, late = 631_152_000_000 - 1, 4_102_444_800_000
    changes: dict[str, dict[str, Any]] = {
        "time too early": {"time": early},
        "time too late": {"time": late},
        "below its bound": {bounded: -2e9},
        "above its bound": {bounded: 2e9},
        "infinite": {bounded: float("inf")},
        "not a number": {bounded: float("nan")},
        "ahead of its append": {"time": event["time"] + step.behind_ms + DAY + 1},
        "text not UTF-8": {identity: "broken"},
    }
    changed = event | changes.get(step.bad or "", {})
    value = framed(step.topic, changed, step.version if step.topic in VERSIONED else 1)
    # After the frame: the message id (its length takes one byte), the time (varint), the kind's index; of an outcome
    # the id, the customer and the offer (a byte each for their lengths), the kind's index.
    texts = (event["id"], event["customer"], event["offer"]) if outcome else (event["message_id"],)
    before = b"".join(b" " + text.encode() for text in texts)
    kind_at = 5 + len(before) + (0 if outcome else len(batches.varint(event["time"])))
    other_id = {"web.events": 2, "social.events": 3}.get(step.topic, 1)
    match step.bad:
        case "null key":
            return None, value
        case "empty key":
            return b"", value
        case "null value":
            return key, None
        case "empty value":
            return key, b""
        case "short frame":
            return key, value[:4]
        case "magic":
            return key, b"\1" + value[1:]
        case "unknown schema":
            return key, b"\0\0\0\3\xe7" + value[5:]
        case "schema of another topic":
            return key, b"\0" + other_id.to_bytes(4, "big") + value[5:]
        case "cut short":
            return key, value[:-1]
        case "trailing bytes":
            return key, value + b"\0"
        case "enum beyond its symbols":
            return key, value[:kind_at] + batches.varint(50) + value[kind_at + 1 :]
        case "enum below zero":
            return key, value[:kind_at] + batches.varint(-1) + value[kind_at + 1 :]
        case "key not UTF-8":
            return key + b"\xff", value
        case "key too long":
            return key + bytes(1025), value
        case "key led by a zero byte":
            return b"\0" + key, value
        case "text not UTF-8":
            return key, value.replace(b"broken", b"brok\xffn", 1)
    return key, value


# --- drawn


def random_steps(
    seed: int,
    count: int,
    *,
    customers: int = 40,
    bad: float = 0.01,
    late: float = 0.05,
    repeated: float = 0.03,
    jump: float = 0.002,
    mean_advance_ms: float = 5 * MINUTE,
    shares: tuple[float, ...] = (6, 2, 2, 1),
) -> list[Step]:
    """Steps with hot customers (a third of all events go to the first three) and jumps over deadlines. `shares` are
    those of the topics."""
    draw = random.Random(seed)
    steps = []
    for _ in range(count):
        topic = draw.choices(TOPICS, shares)[0]
        version = draw.choice((1, 2))
        kinds = KINDS[topic] + (NEW_KINDS if topic == "sales.events" and version == 2 else ())
        hot = draw.random() < 1 / 3
        steps.append(
            Step(
                topic=topic,
                customer=draw.randrange(min(3, customers)) if hot else draw.randrange(customers),
                kind=draw.choices(kinds, [len(kinds) - place for place in range(len(kinds))])[0],
                advance_ms=_advance(draw, jump, mean_advance_ms),
                behind_ms=draw.choice((1, MINUTE, HOUR, 3 * DAY)) if draw.random() < late else 0,
                number=draw.choice(
                    (None, -5.0, 0.0, 1.5, 3.0, 9.75, draw.uniform(0, 10), draw.uniform(0, 300))
                ),
                category=draw.choice(CATEGORIES),
                lines=tuple(
                    Line(draw.choice((0.0, 1.0, 2.0, 0.5)), draw.choice(CATEGORIES))
                    for _ in range(draw.choice((0, 1, 2, 5)))
                ),
                version=version,
                repeats=draw.randint(1, 10) if draw.random() < repeated else 0,
                bad=draw.choice(BAD) if draw.random() < bad else None,
                skipped_offsets=draw.randint(1, 5) if draw.random() < 0.01 else 0,
            )
        )
    return steps


def _advance(draw: random.Random, jump: float, mean_ms: float) -> int:
    if draw.random() < jump:
        return draw.choice((3 * DAY, 14 * DAY, 28 * DAY, 200 * DAY))
    return 0 if draw.random() < 0.2 else int(draw.expovariate(1 / mean_ms))


def random_log(seed: int, count: int, *, partitions: int = 2, **shape: Any) -> Log:
    """`build(random_steps(...))`."""
    return build(random_steps(seed, count, **shape), partitions)


@st.composite
def steps(draw: st.DrawFn, customers: int = 3) -> Step:
    topic = draw(st.sampled_from(TOPICS))
    version = draw(st.sampled_from((1, 2)))
    kinds = KINDS[topic] + (NEW_KINDS if topic == "sales.events" and version == 2 else ())
    exact = st.sampled_from((0, 1, SECOND, 5 * MINUTE, 30 * MINUTE, DAY, 3 * DAY, 14 * DAY, 28 * DAY))
    return Step(
        topic=topic,
        customer=draw(st.integers(0, customers - 1)),
        kind=draw(st.sampled_from(kinds)),
        advance_ms=draw(exact | st.integers(0, 2 * DAY)),
        behind_ms=draw(st.just(0) | exact),
        number=draw(st.none() | st.floats(-1e6, 1e6) | st.sampled_from((0.0, -0.0, 1.0, 10.0, 1e9))),
        category=draw(st.sampled_from(CATEGORIES) | st.text(max_size=20)),
        lines=tuple(draw(st.lists(_lines(), max_size=3))),
        version=version,
        repeats=draw(st.sampled_from((0, 0, 0, 0, 1, 7, 8, 9))),
        bad=draw(st.sampled_from((None, None, None, None, *BAD))),
        skipped_offsets=draw(st.sampled_from((0, 0, 0, 3))),
    )


def _lines() -> st.SearchStrategy[Line]:
    return st.builds(Line, st.floats(-1e6, 1e6), st.sampled_from(CATEGORIES))


@st.composite
def logs(draw: st.DrawFn, partitions: int = 1, max_size: int = 40) -> Log:
    """Small logs that shrink well."""
    return build(draw(st.lists(steps(), min_size=1, max_size=max_size)), partitions)


# --- cut into batches


def cut(records: Sequence[Record], sizes: Iterable[int], codecs: Iterable[str]) -> list[bytes]:
    """Raw batches of `records`; sizes and codecs are taken in turn, the last ones for good."""
    size_of, codec_of = iter(sizes), iter(codecs)
    size, codec = 1, "none"
    out = []
    at = 0
    while at < len(records):
        size, codec = next(size_of, size), next(codec_of, codec)
        out.append(batches.batch(records[at : at + size], codec))
        at += size
    return out


def random_batches(
    log: Mapping[tuple[str, int], Sequence[Record]], seed: int
) -> dict[tuple[str, int], list[bytes]]:
    """Each partition's records in batches of any size, under any codec."""
    draw = random.Random(seed)
    names = list(batches.CODECS)
    return {
        place: cut(
            records,
            [draw.choice((1, 2, 7, 50, 1000)) for _ in records],
            [draw.choice(names) for _ in records],
        )
        for place, records in log.items()
    }


@st.composite
def cuts(draw: st.DrawFn, log: Log) -> dict[tuple[str, int], list[bytes]]:
    """`log` in raw batches of drawn sizes and codecs."""
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=8))
    codecs = draw(st.lists(st.sampled_from(list(batches.CODECS)), min_size=1, max_size=8))
    return {place: cut(records, sizes, codecs) for place, records in log.items()}
