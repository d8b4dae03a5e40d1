"""A thread that opens and decodes large batches ahead of the pass, so that both cores have work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from .batch import RawBatch
from .errors import StreamwiseError

LARGE_BYTES = 32 << 10  # waking a thread costs more than decoding less than this


class DecodeAhead:
    """Calls `prepare(topic, batch)` for the batches it is given, in order.

    `prepare` may be called for the same batch by the pass at the same time: whoever is second waits and finds it done
    (`Engine.prepare`). An error is left for the pass to meet, which knows what to do with it.
    """

    def __init__(self, prepare: Callable[[str, RawBatch], None]) -> None:
        self._prepare = prepare
        self._queue: queue.SimpleQueue[tuple[str, RawBatch]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="decode", daemon=True).start()

    def give(self, topic: str, batch: RawBatch) -> None:
        """Prepare the batch soon, if that pays."""
        if batch.closed is not None and len(batch.closed) > LARGE_BYTES:
            self._queue.put((topic, batch))

    def _run(self) -> None:
        while True:
            topic, batch = self._queue.get()
            try:
                self._prepare(topic, batch)
            except StreamwiseError:
                continue
