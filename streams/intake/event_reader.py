"""Reads events of the source topics, for a role that reads them beside the workers.

It checks events with the workers' own kernels. It only counts those that fail: a worker sends them to the dead letters.
It drops an event whose message id it met lately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from faust.types.tuples import TP

import schemas
from streams.avro import REASONS, AvroProgram
from streams.batches import RawBatch, decode_columns, records
from streams.errors import Poison

from .recent_ids import RecentIds
from .time_merge import Event

DAMAGED = "damaged batch"
MALFORMED = "the body does not decode with its schema"


class EventReader:
    """Decodes events and counts those it leaves out: `refused` by reason, `repeated` for a known message id."""

    def __init__(self, programs: Mapping[str, AvroProgram]) -> None:
        """`programs` decode the values of each topic."""
        self._programs = dict(programs)
        self.refused: dict[str, int] = {}
        self.repeated = 0
        self.forget()

    def forget(self) -> None:
        """Forget all message ids."""
        self._seen = {topic: RecentIds() for topic in self._programs}

    def events(self, tp: TP, batch: RawBatch, position: int, wanted: int) -> Iterator[Event]:
        """Yield the events from `wanted` on; of those from `position` to `wanted` it only notes the ids."""
        try:
            found = records(batch)
        except Poison:
            self._refuse(DAMAGED)
            return
        if not batch.count:
            return
        status = decode_columns(batch, self._programs[tp.topic]).status
        for (offset, key, value), flaw in zip(found, status.tolist(), strict=False):
            if offset < position or (offset < wanted and flaw):
                continue
            if offset < wanted:
                self._seen[tp.topic].add(tp.partition, value)
            elif flaw:
                self._refuse(REASONS[flaw])
            elif self._seen[tp.topic].add(tp.partition, value):
                event = self._event(tp, offset, key, value, batch.append_time_ms)
                if event is not None:
                    yield event
            else:
                self.repeated += 1

    def _event(
        self, tp: TP, offset: int, key: bytes | None, value: bytes | None, append_time_ms: int
    ) -> Event | None:
        try:
            record = schemas.decode(value or b"")[1]
        except schemas.SchemaError:  # fastavro is stricter than the kernels
            self._refuse(MALFORMED)
            return None
        return Event(tp, offset, record["time"], append_time_ms, key or b"", record)

    def _refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
