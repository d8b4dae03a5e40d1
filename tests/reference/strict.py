"""Whether a body is well formed under its writer's schema, to the letter of the Avro specification.

fastavro takes what the letter forbids (an enum's index of -1 counts from the end, a varint may go on for ever),
and gives a value all the same. Such a body is a dead letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WORD_BITS = 64


class Malformed(ValueError):
    """What is wrong with the body."""


def check(schema: Any, body: bytes) -> bool:
    """Raise `Malformed` unless `body` is one value of `schema`, whole and with nothing behind it.

    Returns whether each map has each of its keys once: fastavro keeps the last value of a key only.
    """
    reading = _Reading(body)
    reading.named = dict(named_types(schema))
    reading.read(schema)
    if reading.at != len(body):
        raise Malformed(f"{len(body) - reading.at} bytes behind the value")
    return reading.keys_once


def named_types(schema: Any) -> Iterator[tuple[str, Any]]:
    """The named types in `schema`, by full and by short name."""
    if isinstance(schema, list):
        for branch in schema:
            yield from named_types(branch)
    elif isinstance(schema, Mapping):
        if "name" in schema:
            yield schema["name"], schema
            yield schema["name"].rpartition(".")[2], schema
        for part in (*(member["type"] for member in schema.get("fields", ())), schema.get("items")):
            yield from named_types(part)
        for name in ("values", "type"):
            yield from named_types(schema.get(name))


class _Reading:
    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0
        self.items_left = len(body) + 1  # items of no size cannot outnumber the bytes
        self.named: dict[str, Any] = {}
        self.keys_once = True

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.body) - self.at:
            raise Malformed(f"{size} bytes at {self.at} of {len(self.body)}")
        self.at += size
        return self.body[self.at - size : self.at]

    def long(self) -> int:
        raw = 0
        for shift in range(0, WORD_BITS, 7):
            (byte,) = self.take(1)
            raw |= (byte & 0x7F) << shift
            if byte < 0x80:
                if raw >> WORD_BITS:
                    break
                return raw >> 1 ^ -(raw & 1)
        raise Malformed("a number of more than 64 bits")

    def index(self, count: int) -> int:
        found = self.long()
        if not 0 <= found < count:
            raise Malformed(f"index {found} of {count}")
        return found

    def read(self, schema: Any) -> None:
        if isinstance(schema, list):
            self.read(schema[self.index(len(schema))])
            return
        if isinstance(schema, str):
            schema = self.named.get(schema, {"type": schema})
        kind = schema["type"]
        if isinstance(kind, Mapping | list):
            self.read(kind)
            return
        match kind:
            case "record" | "error":
                for member in schema["fields"]:
                    self.read(member["type"])
            case "enum":
                self.index(len(schema["symbols"]))
            case "fixed":
                self.take(schema["size"])
            case "array" | "map":
                self.blocks(schema, kind)
            case "string":
                self.take(self.long()).decode()
            case "bytes":
                self.take(self.long())
            case "boolean":
                if self.take(1)[0] > 1:
                    raise Malformed("a boolean is 0 or 1")
            case "int" | "long":
                self.long()
            case "float":
                self.take(4)
            case "double":
                self.take(8)
            case "null":
                pass
            case _:
                self.read(self.named[kind])

    def blocks(self, schema: Any, kind: str) -> None:
        keys = set()
        while count := self.long():
            if count < 0:
                count = -count
                self.long()  # the block's size in bytes: of use only to those who skip it
            self.items_left -= count
            if self.items_left < 0:
                raise Malformed(f"{count} items in {len(self.body)} bytes")
            for _ in range(count):
                if kind == "map":
                    key = self.take(self.long()).decode()
                    self.keys_once = self.keys_once and key not in keys
                    keys.add(key)
                self.read(schema["items" if kind == "array" else "values"])
