"""Dead letters of the roles that decode records one by one; the worker's pass makes its own."""

from __future__ import annotations

from faust.types.tuples import TP

import schemas
from schemas.topics import DEAD_LETTERS
from streams.engine import LETTER_BYTES
from streams.kafka import Outputs


class DeadLetters:
    """Sends records that cannot be processed to their topic, with source and reason, and counts the reasons."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self.reasons: dict[str, int] = {}

    def send(
        self, tp: TP, offset: int, reason: str, kind: str, key: bytes | None, value: bytes | None, time_ms: int
    ) -> None:  # fmt: skip
        """Queue one dead letter, which holds the whole `reason`. `kind` is the reason that the metrics count."""
        letter = {
            "topic": tp.topic,
            "partition": tp.partition,
            "offset": offset,
            "reason": reason,
            "key": key and key[:LETTER_BYTES],
        }
        value = value and value[:LETTER_BYTES]
        encoded = schemas.encode("dead_letter", {**letter, "value": value, "time": max(0, time_ms)})
        source = f"{tp.topic}:{tp.partition}:{offset}".encode()
        self._outputs.send(DEAD_LETTERS, [{"key": source, "value": encoded}])
        self.reasons[kind] = self.reasons.get(kind, 0) + 1
