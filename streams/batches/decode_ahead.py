"""A thread that opens and decodes large batches ahead of the pass, so that both cores have work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from .record_batch import RawBatch

LARGE_BYTES = 32 << 10  # waking a thread costs more than decoding less than this
WAITING = 256  # batches; of more than that the pass decodes the rest itself


class DecodeAhead:
    """Calls `prepare(topic, batch)` for the batches it is given, in order.

    `prepare` may be called for the same batch by the pass at the same time: whoever is second waits and finds it done
    (`Engine.prepare`). An error is left for the pass to meet, which knows what to do with it.
    """

    def __init__(self, prepare: Callable[[str, RawBatch], None]) -> None:
        self._prepare = prepare
        self._queue: queue.Queue[tuple[str, RawBatch]] = queue.Queue(WAITING)
        threading.Thread(target=self._run, name="decode", daemon=True).start()

    def give(self, topic: str, batch: RawBatch) -> None:
        """Prepare the batch soon, if that pays and not too many wait for it."""
        if batch.closed is not None and len(batch.closed) > LARGE_BYTES:
            with suppress(queue.Full):
                self._queue.put_nowait((topic, batch))

    def _run(self) -> None:
        while True:
            topic, batch = self._queue.get()
            try:
                self._prepare(topic, batch)
            except Exception:  # the pass, which may let nothing pass, does it again and meets the same
                continue
