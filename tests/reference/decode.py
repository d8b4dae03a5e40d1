"""From a record to an event, with fastavro, or to the reason why it is a dead letter."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro

from tests.reference.declared import Declared, Field
from tests.reference.hashing import bit_of, hash52, hash64, signed
from tests.reference.record import Record
from tests.reference.strict import check

EARLIEST_MS = 631_152_000_000  # 1990-01-01T00:00Z
TOO_LATE_MS = 4_102_444_800_000  # 2100-01-01T00:00Z
AHEAD_MS = 86_400_000  # how far an event may lie after its append
MAX_KEY_BYTES = 1024
MESSAGE_ID = {"outcome": "id"}  # what a schema calls it, if not message_id


@dataclass(frozen=True)
class Event:
    """A record that decoded. `bits` holds, exactly, the fields reduced by `bits`; `fields` all others."""

    topic: str
    partition: int
    offset: int
    key: bytes
    time: int
    message_id: int
    kind: str
    fields: Mapping[str, float]
    bits: Mapping[str, int]


class DeadLetter(Exception):
    """Why a record cannot be used: key, value, framing, schema, avro, time or bounds."""


class Decoder:
    """`schemas` are the Avro schemas by id; of those with the same name, the highest id is current."""

    def __init__(self, declared: Declared, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        self.declared = declared
        self.by_id = {number: fastavro.parse_schema(_plain(schema)) for number, schema in schemas.items()}
        self.name_of = {number: _name(schema) for number, schema in schemas.items()}
        self.current = {self.name_of[number]: self.by_id[number] for number in sorted(schemas)}

    def decode(self, record: Record) -> Event:
        if not record.key or not _is_key(record.key):
            raise DeadLetter("key")
        if record.value is None:
            raise DeadLetter("value")
        body = self._body(record.topic, record.value)
        time = body["time"]
        if not EARLIEST_MS <= time < TOO_LATE_MS:
            raise DeadLetter("time")
        if record.timestamp >= 0 and time > record.timestamp + AHEAD_MS:
            raise DeadLetter("time")
        fields, bits = {}, {}
        for field in self.declared.fields:
            path = field.paths.get(record.topic)
            found = _along(body, path) if path else None
            if field.reduce == "bits":
                bits[field.name] = _bits(found)
                fields[field.name] = float(bits[field.name]) if found is not None else math.nan
            else:
                fields[field.name] = _reduced(field.reduce, found)
            _check_bounds(field, fields[field.name])
        return Event(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            time=time,
            message_id=signed(
                hash64(body[MESSAGE_ID.get(self.declared.sources[record.topic], "message_id")].encode())
            ),
            kind=body["kind"],
            fields=fields,
            bits=bits,
        )

    def _body(self, topic: str, value: bytes) -> Mapping[str, Any]:
        """The Avro body, written under any schema of the topic's name and read under the current one."""
        if len(value) < 5 or value[0] != 0:
            raise DeadLetter("framing")
        number = int.from_bytes(value[1:5], "big")
        name = self.declared.sources[topic]
        if self.name_of.get(number) != name:
            raise DeadLetter("schema")
        stream = io.BytesIO(value[5:])
        try:
            check(self.by_id[number], value[5:])
            body = fastavro.schemaless_reader(stream, self.by_id[number], self.current[name])
        except Exception as error:
            # On damaged bytes fastavro raises whatever it stumbles over: EOFError, IndexError, ...
            raise DeadLetter("avro") from error
        assert isinstance(body, dict)
        return body


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["name"]).rsplit(".", 1)[-1]


def _plain(part: Any) -> Any:
    """The schema without logical types: a time is its number, also outside the years that datetime knows."""
    if isinstance(part, Mapping):
        return {k: _plain(v) for k, v in part.items() if k != "logicalType" and not k.startswith("__")}
    return [_plain(item) for item in part] if isinstance(part, list) else part


def _along(body: Any, path: str) -> Any:
    """The value at `path`, None where something on the way is null; at `lines[]...` the list of its items."""
    head, _, rest = path.partition(".")
    found = body.get(re.sub(r"\[\]$", "", head))
    if found is None:
        return None
    if head.endswith("[]"):
        return [_along(item, rest) if rest else item for item in found]
    return _along(found, rest) if rest else found


def _number(value: Any) -> float:
    """NaN stands for an absent value; one that was written is no number."""
    if value is None:
        return math.nan
    if isinstance(value, float) and math.isnan(value):
        raise DeadLetter("bounds")
    return hash52(value) if isinstance(value, str) else float(value)


def _is_key(key: bytes) -> bool:
    """UTF-8 of at most 1024 bytes; a zero byte in front marks the engine's own keys."""
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return len(key) <= MAX_KEY_BYTES and key[0] != 0


def _bits(items: list[Any] | None) -> int:
    """OR of one bit for each item that is not null, as an unsigned 64-bit number."""
    bits = 0
    for item in items or []:
        if item is not None:
            bits |= bit_of(_number(item))
    return bits


def _reduced(reduce: str | None, found: Any) -> float:
    """One number for what stands at the path; of an array, its items that are not null are reduced."""
    if reduce is None or found is None:
        return _number(found)
    items = [item for item in found if item is not None]
    reducers: Mapping[str, Callable[[], float]] = {
        "count": lambda: float(len(items)),
        "sum": lambda: sum((_number(item) for item in items), 0.0),
        "last": lambda: [_number(item) for item in items][-1] if items else math.nan,
    }
    return reducers[reduce]()


def _check_bounds(field: Field, value: float) -> None:
    """NaN (absent, null) breaks no bound."""
    below = field.lowest is not None and value < field.lowest
    above = field.highest is not None and value > field.highest
    if below or above:
        raise DeadLetter("bounds")
