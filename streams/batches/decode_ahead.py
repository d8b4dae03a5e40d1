"""A thread that opens and decodes large batches ahead of the pass, so that both cores have work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from .record_batch import RawBatch

LARGE_BYTES = 32 << 10  # to wake a thread costs more than to decode a smaller batch
WAITING = 256  # batches in the queue; the pass itself decodes those beyond


class DecodeAhead:
    """Calls `prepare(topic, batch)` for the batches it is given, in order.

    The pass may call `prepare` for the same batch at the same time: the second caller waits and finds it done
    (`Engine.prepare`). This thread ignores an error; the pass meets it again and knows what to do.
    """

    def __init__(self, prepare: Callable[[str, RawBatch], None]) -> None:
        self._prepare = prepare
        self._queue: queue.Queue[tuple[str, RawBatch]] = queue.Queue(WAITING)
        threading.Thread(target=self._run, name="decode", daemon=True).start()

    def give(self, topic: str, batch: RawBatch) -> None:
        """Queue a batch, if it is large enough to pay and the queue is not full."""
        if batch.closed is not None and len(batch.closed) > LARGE_BYTES:
            with suppress(queue.Full):
                self._queue.put_nowait((topic, batch))

    def _run(self) -> None:
        while True:
            topic, batch = self._queue.get()
            try:
                self._prepare(topic, batch)
            except Exception:  # the pass prepares the batch again, meets the same error and handles it
                continue
