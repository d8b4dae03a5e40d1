"""Looks up layouts, of other versions too, in the compacted topic where workers describe them.

Views in Redis, receipts and examples name the layout of the worker that wrote them. During an upgrade there are two.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from customers.row import Described, Layout
from schemas.topics import LAYOUTS
from streams.kafka import Kafka, read_to_end

TIMEOUT_S = 5.0
AGAIN_S = 1.0  # the topic is read at most once in this time, however many unknown layouts are asked for


def entry(layout: Layout) -> dict[str, bytes]:
    """Return the record that a worker sends when it starts."""
    return {"key": str(layout.layout_id).encode(), "value": layout.description}


class Layouts:
    """Descriptions by layout id. Reads the topic when asked for an unknown id. Thread-safe."""

    def __init__(
        self, bootstrap: Kafka, own: Layout | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bootstrap, self._clock = bootstrap, clock
        self._known = {own.layout_id: Described.of(own.description)} if own is not None else {}
        self._lock = threading.Lock()
        self._read_at = -AGAIN_S

    def get(self, layout_id: int) -> Described | None:
        """Return the layout of this id, None if no worker described it. Raises `Retryable` if no broker answers."""
        with self._lock:
            if layout_id not in self._known and self._clock() - self._read_at >= AGAIN_S:
                self._known |= _read(self._bootstrap)
                self._read_at = self._clock()
            return self._known.get(layout_id)


def _read(bootstrap: Kafka) -> dict[int, Described]:
    found: dict[int, Described] = {}
    for record in read_to_end(bootstrap, LAYOUTS, group="streamwise-layouts", timeout_s=TIMEOUT_S):
        if record.key is not None and record.value is not None:
            found[int(record.key)] = Described.of(record.value)
    return found
