"""Records of the source topics as events, for a role that reads them beside the workers.

What cannot be read is counted here and no more: the worker, which holds events to the same rules, has sent it to the
dead letters. So it is with a message id that was met lately.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from faust.types.tuples import TP

import schemas
from streams.batch import RawBatch
from streams.decode import AHEAD_MS, EARLIEST_MS, LATEST_MS
from streams.errors import Poison

from .merging import Arrived
from .records import records
from .seen import Seen

KEY_MAX_BYTES: Final = 1024


class Arrivals:
    """`refused`: by reason. `repeated`: dropped because their message id was known."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)
        self.refused: dict[str, int] = {}
        self.repeated = 0
        self.forget()

    def forget(self) -> None:
        """No id is known."""
        self._seen = {topic: Seen() for topic in self._topics}

    def events(self, tp: TP, batch: RawBatch, position: int, wanted: int) -> Iterator[Arrived]:
        """The events from `position` on. Of those before `wanted` only the ids are noted."""
        try:
            found = records(batch)
        except Poison:
            self._refuse("damaged batch")
            return
        seen = self._seen[tp.topic]
        for offset, key, value in found:
            if offset < max(position, wanted):
                if offset >= position:
                    seen.add(tp.partition, value)
                continue
            try:
                event = _event(tp, offset, key, value, batch.append_time_ms)
            except Poison as error:
                self._refuse(str(error))
                continue
            if seen.add(tp.partition, value):
                yield event
            else:
                self.repeated += 1

    def _refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


def _event(tp: TP, offset: int, key: bytes | None, value: bytes | None, append_time_ms: int) -> Arrived:
    """Raises `Poison` with a reason of few words."""
    if not key or len(key) > KEY_MAX_BYTES or key[0] == 0 or not _is_text(key):
        raise Poison("no key of a customer")
    record = _decoded(tp.topic, value)
    latest_ms = min(LATEST_MS, append_time_ms + AHEAD_MS) if append_time_ms >= 0 else LATEST_MS
    if not EARLIEST_MS <= record["time"] < latest_ms:
        raise Poison("a time that cannot be")
    return Arrived(tp, offset, record["time"], append_time_ms, key, record)


def _decoded(topic: str, value: bytes | None) -> dict[str, Any]:
    try:
        name, record = schemas.decode(value or b"")
    except schemas.SchemaError as error:
        raise Poison("does not decode") from error
    if name != schemas.TOPICS.get(topic, name):
        raise Poison("another schema than the topic's")
    return record


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
