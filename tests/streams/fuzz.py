"""Good values of every source topic, and 20,000 that were made bad in every way that bytes can be."""

from __future__ import annotations

import random
from functools import cache

from tests.reference import streams
from tests.reference.batches import varint
from tests.reference.record import Record

HUGE = (*map(varint, (-1, 2**31, 2**62, 2**63 - 1, -(2**63))), b"\xff" * 10, b"\xff" * 9 + b"\x02")
NOISE = b"\xff\xc0\x80\x00\x02\x01\xed\xa0\xf5\x7f"


@cache
def good() -> dict[str, list[Record]]:
    """A few hundred good records by topic."""
    log = streams.random_log(77, 900, partitions=1, bad=0.0, repeated=0.0, late=0.0)
    return {topic: records for (topic, _), records in log.items()}


def fuzzed(seed: int, count: int) -> list[Record]:
    """`count` records with values that were damaged; some are as good as new."""
    draw = random.Random(seed)
    return [_damaged(draw, offset) for offset in range(count)]


def _damaged(draw: random.Random, offset: int) -> Record:
    topic = draw.choice(streams.TOPICS)
    record = draw.choice(good()[topic])
    key, value = record.key, record.value
    assert value is not None
    damaged = bytearray(value)
    at = draw.randrange(len(damaged))
    match draw.randrange(11):
        case 0 | 1:  # bit flips
            for _ in range(draw.choice((1, 1, 1, 2, 8))):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        case 2:  # cut short
            del damaged[at:]
        case 3:  # a schema id of another topic, of none, of the other version
            damaged[1:5] = draw.choice((0, 1, 2, 3, 4, 5, 10, 13, 17, 2**31, 2**32 - 1)).to_bytes(4, "big")
        case 4:  # a huge or negative length, count, index
            damaged[at : at + 1] = draw.choice(HUGE)
        case 5:  # the body of another topic
            other = draw.choice(good()[draw.choice(streams.TOPICS)])
            assert other.value is not None
            damaged[5:] = other.value[5:]
        case 6:  # nothing but noise
            damaged[5:] = draw.randbytes(draw.choice((0, 1, 8, 60)))
        case 7:  # bytes behind the body
            damaged += draw.choice((b"\0", b"\0\0\0", varint(3), draw.randbytes(9)))
        case 8:  # a piece is doubled or missing
            stop = min(len(damaged), at + draw.randint(1, 9))
            damaged[at:stop] = draw.choice((b"", damaged[at:stop] * 2))
        case 9:  # bytes that UTF-8 and varints stumble over
            damaged[at] = draw.choice(NOISE)
        case 10:  # a key that is none
            key = draw.choice((b"", b"\0x", b"\xff", b"a\xc3", bytes(1025), None))
    return Record(topic, 0, offset, key, bytes(damaged), record.timestamp)
