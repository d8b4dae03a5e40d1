"""Runs every kernel once on synthetic events, so that no real event waits for a compilation."""

from __future__ import annotations

import struct
import time
from typing import Any

import numpy as np

import schemas
from streams.batches import RawBatch
from streams.engine import Engine, Partition
from streams.state import evict

from .live_pass import LivePass


class _Nowhere:
    """A producer that drops its messages."""

    def send(self, topic: str, messages: Any, partition: int = -1) -> None:
        """Drop the messages."""


def warm(work: LivePass) -> float:
    """Compile every kernel, or load it from the cache. Returns the seconds that this took."""
    started = time.perf_counter()
    exercise(work)
    return time.perf_counter() - started


def exercise_loop(work: LivePass) -> None:
    """Call the loop over events, which calls most kernels, without an event."""
    engine = _engine(work)
    engine.raise_watermark(engine.partition(0), 0.0)


def exercise_others(work: LivePass) -> None:
    """Call all but the loop over events: what it leaves behind is made up."""
    engine = _engine(work)
    partition = engine.partition(0)
    _receive(engine, work)
    partition.take()
    slots = np.zeros(1, np.int64)
    partition.rows.put_whole(slots, work.default_row.reshape(1, -1))
    _read_and_restore(partition, slots, work)


def exercise(work: LivePass) -> None:
    """Decode, merge, fold, score, judge, restore and look up one made-up event of each source topic."""
    counters = work.counters.copy()
    engine = _engine(work)
    partition = engine.partition(0)
    _receive(engine, work)
    engine.fold(partition)
    engine.raise_watermark(partition, partition.clocks[1] + 1e12)
    _read_and_restore(partition, partition.take_changed(), work)
    work.counters[:] = counters


def _engine(work: LivePass) -> Engine:
    engine = Engine(work.layout.topics, work, _Nowhere())  # type: ignore[arg-type]
    partition = engine.partition(0)
    partition.activate()
    partition.positions[:] = 0
    return engine


def _receive(engine: Engine, work: LivePass) -> None:
    for topic in work.layout.topics:
        engine.receive(topic, 0, _one_record(topic, work))


def _read_and_restore(partition: Partition, slots: Any, work: LivePass) -> None:
    partition.records(slots, work.layout.layout_id)
    values, ends = partition.rows.values(slots, work.layout.layout_id)
    again = Partition(0, len(work.layout.topics), work.fields, work.default_row, work.deadline_words)
    at = np.concatenate([[0], 8 * ends[:-1]])
    again.index.slot_of(b"w")
    again.rows.put(values.view(np.uint8), at, 8 * ends - at, slots)
    again.activate()
    work.packed_views(partition, slots)
    evict(again.rows.store, 0)
    again.forget(b"w")
    partition.index.find(b"nobody")


def _one_record(topic: str, work: LivePass) -> RawBatch:
    source = next(source for source in work.config.features.sources if source.topic == topic)
    schema = schemas.schema(source.schema)
    record = {member["name"]: _value(member) for member in schema["fields"] if "default" not in member}
    value = schemas.encode(source.schema, record)
    body = b"\0\0\0\x02w" + _varint(len(value)) + value + b"\0"
    data = _varint(len(body)) + body
    return RawBatch(0, 1, 0, 1, -1, np.frombuffer(data, np.uint8))


def _value(member: Any) -> Any:
    kind = member["type"]
    if isinstance(kind, list):
        return None
    if isinstance(kind, dict):
        plain: dict[str, Any] = {"enum": kind.get("symbols", [""])[0], "array": [], "map": {}}
        return 1_500_000_000_000 if kind["type"] == "long" else plain.get(kind["type"])
    return {"string": "w", "double": 1.0, "long": 1, "int": 1, "boolean": True}.get(kind)


def _varint(number: int) -> bytes:
    number <<= 1
    out = b""
    while number > 127:
        out += struct.pack("B", number & 127 | 128)
        number >>= 7
    return out + struct.pack("B", number)
