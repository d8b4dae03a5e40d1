"""Records of the source topics as events, for a role that reads them beside the workers.

Events are held to the workers' rules by the workers' own kernels. What fails is counted here and no more: a worker has
sent it to the dead letters. A message id that was met lately is dropped.
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
    """`refused`: by reason. `repeated`: dropped because their message id was known."""

    def __init__(self, programs: Mapping[str, AvroProgram]) -> None:
        """`programs`: what reads the values of each topic."""
        self._programs = dict(programs)
        self.refused: dict[str, int] = {}
        self.repeated = 0
        self.forget()

    def forget(self) -> None:
        """No id is known."""
        self._seen = {topic: RecentIds() for topic in self._programs}

    def events(self, tp: TP, batch: RawBatch, position: int, wanted: int) -> Iterator[Event]:
        """The events from `position` on. Of those before `wanted` only the ids are noted."""
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
