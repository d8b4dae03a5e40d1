"""One record of a topic, as the broker keeps it."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """`value` is framed (a zero byte, the schema id, the Avro body); `timestamp` is the append time in
    ms (-1: not known)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = -1
    headers: tuple[tuple[str, bytes | None], ...] = ()


Log = dict[tuple[str, int], list[Record]]
