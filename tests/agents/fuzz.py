"""Values of any schema, spoilt: bytes that are others, and records that are whole but absurd."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import schemas
from tests.reference.batches import varint

LONGS = (0, 1, -1, 2, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), -(2**63) + 1)
DOUBLES = (0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1.7e308, -1.7e308, 5e-324, 1e12, 2.0**63)
TEXTS = ("", "a", "\0", "a\0b", "\\x00", "Käse", "\U0010ffff", "\u202e<script>", "x" * 300, "/", "0")
HUGE = tuple(map(varint, (-1, 2**31, 2**62, 2**63 - 1, -(2**63))))


def spoilt(name: str, good: Sequence[bytes], seed: int, count: int) -> list[bytes | None]:
    """`count` values of the schema `name`: half made of the good ones, half made up."""
    draw = random.Random(seed)
    return [
        _damaged(draw, draw.choice(good)) if draw.random() < 0.5 else _absurd(draw, name, draw.choice(good))
        for _ in range(count)
    ]


def _damaged(draw: random.Random, value: bytes) -> bytes | None:
    data = bytearray(value)
    at = draw.randrange(len(data))
    match draw.randrange(8):
        case 0 | 1 | 2:
            for _ in range(draw.choice((1, 1, 1, 2, 8))):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        case 3:
            del data[at:]
        case 4:
            data[1:5] = draw.choice((1, 10, 11, 12, 13, 14, 2**32 - 1)).to_bytes(4, "big")
        case 5:
            data[at : at + 1] = draw.choice(HUGE)
        case 6:
            data[5:] = draw.randbytes(draw.choice((0, 1, 8, 200)))
        case 7:
            return draw.choice((None, b"", b"\0", b"\0\0\0\0\x0c", b"{}", bytes(200)))
    return bytes(data)


def _absurd(draw: random.Random, name: str, value: bytes) -> bytes:
    """A good record of which some fields hold what nobody would send."""
    record = dict(schemas.decode(value)[1])
    members = {member["name"]: member["type"] for member in schemas.schema(name)["fields"]}
    for field in draw.sample(sorted(members), draw.choice((1, 1, 2, len(members)))):
        record[field] = _value(draw, members[field])
    return schemas.encode(name, record)


def _value(draw: random.Random, kind: Any) -> Any:
    if isinstance(kind, list):
        return _value(draw, draw.choice(kind))
    shape = kind if isinstance(kind, str) else kind["type"]
    match shape:
        case "null":
            return None
        case "string":
            return draw.choice((*TEXTS, "y" * draw.choice((5_000, 100_000))))
        case "bytes":
            return draw.choice((b"", b"\0", draw.randbytes(500)))
        case "int":
            return draw.choice([number for number in LONGS if -(2**31) <= number < 2**31])
        case "boolean":
            return draw.random() < 0.5
        case "long":
            return draw.choice(LONGS)
        case "float":
            return draw.choice([number for number in DOUBLES if not 1e38 < abs(number) < math.inf])
        case "double":
            return draw.choice(DOUBLES)
        case "enum":
            return draw.choice(kind["symbols"])
        case "array":
            return [_value(draw, kind["items"]) for _ in range(draw.choice((0, 1, 2, 38, 60)))]
        case "map":
            return {text: _value(draw, kind["values"]) for text in draw.sample(TEXTS, draw.choice((0, 1, 5)))}
        case "record":
            return {member["name"]: _value(draw, member["type"]) for member in kind["fields"]}
    return _value(draw, shape)
