"""Whole records, spoilt in every way that keys, values and times can be, among good ones in the same batches.

The good ones are customers of their own in two partition numbers. In number `CALM` no spoilt record that is an event
all the same lies ahead of them, so that they must not notice any; in `WILD` some do, as far as the bounds let them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import schemas
from tests.reference import batches, streams
from tests.reference.decode import AHEAD_MS, EARLIEST_MS, TOO_LATE_MS, DeadLetter, Decoder, Event
from tests.reference.record import Record
from tests.streams.fuzz import HUGE, NOISE, good

CALM, WILD = 0, 1
CUSTOMERS = 400  # whose records are spoilt
SIZES = (1, 2, 9, 40, 120)
CODECS = ("none", "lz4", "lz4", "zstd", "snappy", "gzip")
TIMES = (
    -(2**63), -1, 0, 1, 1_500_000_000, EARLIEST_MS - 1, EARLIEST_MS, TOO_LATE_MS - 1, TOO_LATE_MS, 2**53, 2**63 - 1,
)  # fmt: skip
NUMBERS = (
    math.nan,
    math.inf,
    -math.inf,
    1.7e308,
    -1.7e308,
    5e-324,
    -0.0,
    1e9,
    1.0000000001e9,
    -2e9,
    1e300,
    1e-300,
)
Place = tuple[str, int, int]  # topic, partition, offset


@dataclass
class FuzzedLog:
    """`dead`: why a spoilt record is a dead letter; `events`: what it decodes to all the same. `good`: the others."""

    good: list[Record] = field(default_factory=list)
    spoilt: dict[Place, Record] = field(default_factory=dict)
    dead: dict[Place, str] = field(default_factory=dict)
    events: dict[Place, Event] = field(default_factory=dict)
    cuts: dict[tuple[str, int], list[_Cut]] = field(default_factory=dict)

    def batches(
        self, keep: Callable[[Place], bool] = lambda place: True
    ) -> dict[tuple[str, int], list[bytes]]:
        """Raw batches; records that are not kept are gone as compaction takes them, all other offsets stay."""
        return {at: [cut.raw(keep) for cut in cuts] for at, cuts in self.cuts.items()}


@dataclass
class _Cut:
    """The records of a batch. `append_time`: see `tests.reference.batches.batch`."""

    records: list[Record]
    codec: str
    append_time: int

    def raw(self, keep: Callable[[Place], bool]) -> bytes:
        kept = [record for record in self.records if keep(record[:3])]
        return batches.batch(
            kept, self.codec, base_offset=self.records[0].offset, last_offset=self.records[-1].offset,
            append_time=self.append_time,
        )  # fmt: skip


def fuzzed_log(
    seed: int, count: int, decoder: Decoder, *, share: float = 0.8, start_ms: int = streams.START_MS
) -> FuzzedLog:
    """`count` spoilt records, `share` of all."""
    draw = random.Random(seed)
    steps = streams.random_steps(
        seed, int(count * (1 - share) / share), customers=150, bad=0.0, late=0.0, jump=0.002
    )
    log = streams.build(steps, 2, start_ms)
    made = FuzzedLog()
    done = spread = 0
    for (topic, number), records in log.items():
        done += len(records)
        mine = count * done // len(steps) - spread  # as its share of the good ones
        spread += mine
        mixed = _mixed(draw, topic, records, mine)
        made.cuts[topic, number] = _cut(draw, mixed, topic, number, decoder, made)
    return made


def _mixed(
    draw: random.Random, topic: str, records: Sequence[Record], count: int
) -> list[tuple[Record, int, bool]]:
    """The good records and `count` spoilt ones between them: (record, running time, whether it is spoilt)."""
    order = [True] * count + [False] * len(records)
    draw.shuffle(order)
    following = iter(records)
    now = records[0].timestamp
    mixed = []
    for spoilt in order:
        if not spoilt:
            record = next(following)
            now = record.timestamp
        else:
            record = spoil(draw, topic, now)
        mixed.append((record, now, spoilt))
    return mixed


def _cut(
    draw: random.Random, mixed: list[tuple[Record, int, bool]], topic: str, number: int, decoder: Decoder,
    made: FuzzedLog,
) -> list[_Cut]:  # fmt: skip
    cuts = []
    offset = 0
    while mixed:
        size = draw.choice(SIZES)
        part, mixed = mixed[:size], mixed[size:]
        append_time = part[-1][1]
        records = []
        for record, now, spoilt in part:
            offset += 1 + (draw.random() < 0.01) * draw.randint(1, 5)
            record = record._replace(topic=topic, partition=number, offset=offset)
            if spoilt:
                record = _judged(record, now, append_time, decoder, made)
            else:
                made.good.append(record)
            records.append(record)
        cuts.append(_Cut(records, draw.choice(CODECS), append_time))
    return cuts


def _judged(record: Record, now: int, append_time: int, decoder: Decoder, made: FuzzedLog) -> Record:
    """Enter what becomes of a spoilt record."""
    place = record[:3]
    found = verdict(record._replace(timestamp=append_time), decoder)
    if isinstance(found, Event) and record.partition == CALM and found.time > now:
        assert record.value is not None
        record = record._replace(value=record.value[:-1])
        found = verdict(record._replace(timestamp=append_time), decoder)
    if isinstance(found, Event):
        made.events[place] = found
    else:
        made.dead[place] = found
    made.spoilt[place] = record
    return record


def verdict(record: Record, decoder: Decoder) -> Event | str:
    """The event, or why there is none."""
    try:
        return decoder.decode(record)
    except DeadLetter as error:
        return str(error)


def spoil(draw: random.Random, topic: str, now: int) -> Record:
    """One record of `topic`, spoilt; `now`: about when it is appended."""
    whole = _value(draw, topic)
    customer = b"fuzz-%d" % draw.randrange(CUSTOMERS)
    key: bytes | None = customer
    value: bytes | None = whole
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp = draw.choice((0, 1, now, now - streams.DAY, 2**62)) if draw.random() < 0.05 else now
    match draw.randrange(10):
        case 0:
            key = _key(draw, customer)
        case 1:
            value = draw.choice(
                (None, b"", b"\0", whole[:4], whole[1:], b"\1" + whole[1:], b"{}", bytes(100))
            )
        case 2:
            event = _event(topic, whole) | {
                "time": draw.choice((*TIMES, now + AHEAD_MS, now + AHEAD_MS + 1, now))
            }
            value = schemas.encode(schemas.TOPICS[topic], event)
        case 3:
            value = _numbers(draw, topic, whole, now)
        case 4 if draw.random() < 0.003:  # too large to be frequent
            value, headers = _large(draw, topic, whole, now)
        case _:
            value = _bytes(draw, whole)
    return Record(topic, 0, 0, key, value, timestamp, headers)


def _value(draw: random.Random, topic: str) -> bytes:
    """A good one."""
    value = draw.choice(good()[topic]).value
    assert value is not None
    return value


def _key(draw: random.Random, key: bytes) -> bytes | None:
    known = (
        None,
        b"",
        b"\0" + key,
        b"\0control",
        b"\xff" + key,
        b"a\xc3",
        bytes(1025),
        b"k" * 1024,
        b"k" * 1025,
    )
    flipped = bytearray(key)
    flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    return draw.choice(
        (*known, bytes(flipped), "fuzz-Käse".encode(), b"\xed\xa0\x80", draw.randbytes(draw.randint(1, 40)))
    )


def _event(topic: str, value: bytes) -> dict[str, Any]:
    return dict(schemas.decode(value)[1])


def _numbers(draw: random.Random, topic: str, value: bytes, now: int) -> bytes:
    event = _event(topic, value) | {"time": now}
    number = draw.choice(NUMBERS)
    match topic:
        case "web.events" | "offer.outcomes":
            event["value"] = number
        case "social.events":
            event[draw.choice(("sentiment", "rating"))] = number
        case _:
            line = {
                "product": "p",
                "category": None,
                "quantity": number,
                "amount": number,
                "discount": number,
            }
            event[draw.choice(("amount", "discount"))] = draw.choice((number, 1.0))
            event["lines"] = [dict(line) for _ in range(draw.choice((0, 1, 3)))]
    return schemas.encode(schemas.TOPICS[topic], event)


def _large(
    draw: random.Random, topic: str, value: bytes, now: int
) -> tuple[bytes, tuple[tuple[str, bytes | None], ...]]:
    """Up to what a broker takes in one record."""
    size = draw.choice((70_000, 300_000, 900_000))
    event = _event(topic, value) | {"time": now}
    match draw.randrange(4):
        case 0:
            name = schemas.TOPICS[topic]
            return schemas.encode(name, event | {schemas.EVENTS[name]: "m" * size}), ()
        case 1:
            return value + bytes(size), ()
        case 2:
            return value, tuple(("h", draw.choice((None, b"", bytes(size // 1000)))) for _ in range(1000))
    if topic == "sales.events":
        line = {"product": "p", "category": "c", "quantity": 1.0, "amount": 1.0, "discount": 0.0}
        event["lines"] = [line] * (size // 40)
    return schemas.encode(schemas.TOPICS[topic], event), ()


def _bytes(draw: random.Random, value: bytes) -> bytes:
    """Bytes of the value that are others, missing, or too many."""
    damaged = bytearray(value)
    at = draw.randrange(len(damaged))
    match draw.randrange(9):
        case 0 | 1:  # bit flips
            for _ in range(draw.choice((1, 1, 1, 2, 8))):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        case 2:  # cut short
            del damaged[at:]
        case 3:  # a schema id of another topic, of none, of the other version
            damaged[1:5] = draw.choice((0, 1, 2, 3, 4, 5, 10, 13, 17, 2**31, 2**32 - 1)).to_bytes(4, "big")
        case 4:  # a huge or negative length, count, index
            damaged[at : at + 1] = draw.choice(HUGE)
        case 5:  # the body of another record, often of another topic
            damaged[5:] = _value(draw, draw.choice(streams.TOPICS))[5:]
        case 6:  # noise, or more than there is
            damaged[5:] = draw.randbytes(draw.choice((0, 1, 8, 60)))
        case 7:  # a piece is doubled or missing
            stop = min(len(damaged), at + draw.randint(1, 9))
            damaged[at:stop] = draw.choice((b"", damaged[at:stop] * 2))
        case 8:  # bytes that UTF-8 and varints stumble over
            damaged[at] = draw.choice(NOISE)
    return bytes(damaged)
