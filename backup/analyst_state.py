"""The analyst's state in a backup: the newest record of each key as of its last complete cycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from streams.durability import CONTROL_KEY
from streams.errors import Retryable

from .topic_log import Log

PARTITION: Final = 0  # the analyst writes only here, so that a cycle is one transaction
TRIES: Final = 5  # the broker may compact the log during a read


def newest(log: Log, topic: str) -> dict[bytes, bytes]:
    """The newest record of each key, the control record last; empty if no analyst ever ran."""
    for _ in range(TRIES):
        found = _read(log, topic)
        if not found or whole(found):
            return found
    raise Retryable(f"{topic}[{PARTITION}] is compacted faster than it is read; try again")


def _read(log: Log, topic: str) -> dict[bytes, bytes]:
    found, pending = dict[bytes, bytes](), dict[bytes, bytes | None]()
    for record in log.read(topic, PARTITION, *log.bounds(topic, PARTITION)):
        key = record.key or b""
        pending[key] = record.value
        if key == CONTROL_KEY:
            for name, value in pending.items():
                found.pop(name, None)
                if value is not None:
                    found[name] = value
            pending = {}
    return found


def _count(control: bytes) -> int:
    counts: dict[str, Any] = msgspec.msgpack.decode(control)
    return sum(int(counts[name]) for name in ("items", "shoppers", "pieces"))


def whole(records: Mapping[bytes, bytes]) -> bool:
    """Whether the number of records matches the count in the control record."""
    return CONTROL_KEY in records and len(records) - 1 == _count(records[CONTROL_KEY])


def clamped(control: bytes, limit: Callable[[str, int, int], int]) -> bytes:
    """The control record with each offset replaced by `limit(topic, partition, offset)`."""
    content: dict[str, Any] = msgspec.msgpack.decode(control)
    for place, offset in content["offsets"].items():
        topic, _, number = place.rpartition(":")
        content["offsets"][place] = limit(topic, int(number), offset)
    return msgspec.msgpack.encode(content)
