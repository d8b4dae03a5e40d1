"""Step 9, serve: the thread that carries changed views to their store.

The engine remembers which slots changed and hands over keys with their blobs when asked, so what
waits here is never more than one take. While the store is away nothing is taken; events go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from serving.views import ViewStore
from streams.errors import Retryable

PERIOD_S = 0.5  # half of the second within which a changed row has to be seen
LIMIT = 10_000  # a take: about 30 ms of this thread's time, 5 MB
BACKOFF_MAX_S = 10.0  # a store that is back is found again within this
FLUSH_TIMEOUT_S = 5.0

ReadDirty = Callable[[int], tuple[list[bytes], list[bytes]]]
GiveBack = Callable[[Sequence[bytes]], None]
TakeGone = Callable[[int], list[bytes]]


def _nobody(limit: int) -> list[bytes]:
    return []


log = logging.getLogger(__name__)


class Published(NamedTuple):
    """The counters of a publisher."""

    written: int
    failures: int
    oldest_unwritten_s: float


class ViewPublisher:
    """Every `period_s` takes at most `limit` changed customers and writes them.

    `read_dirty(limit)` gives keys and blobs and forgets that they changed; it must not return the
    same ones for ever while others wait. `give_back(keys)` marks them as changed again. `take_gone(limit)` gives the
    keys of customers who are no more. All are called in this thread.
    """

    def __init__(
        self,
        store: ViewStore,
        read_dirty: ReadDirty,
        give_back: GiveBack,
        take_gone: TakeGone = _nobody,
        *,
        limit: int = LIMIT,
        period_s: float = PERIOD_S,
        backoff_max_s: float = BACKOFF_MAX_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._read_dirty, self._give_back = store, read_dirty, give_back
        self._take_gone = take_gone
        self._gone: list[
            bytes
        ] = []  # removed before anything is written: one who comes back is written after it
        self._limit, self._period_s, self._backoff_max_s = limit, period_s, backoff_max_s
        self._clock = clock
        self._written = self._failures = self._failures_in_a_row = 0
        # When everything changed before it was written; None while nothing is left over.
        self._behind_since: float | None = None
        self._clean_at = clock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="views", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, flush_timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """End the thread, then write what is left; False if some of it could not be written."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        until = self._clock() + flush_timeout_s
        while self._clock() < until:
            if not self.publish_once():
                return False
            if self._behind_since is None:
                return True
        return False

    @property
    def alive(self) -> bool:
        """False once the thread has ended, by `stop` or by an error that nobody expected."""
        return self._thread.is_alive()

    def published(self) -> Published:
        """The counters. The age is an upper bound: how long ago nothing was left unwritten."""
        since = self._behind_since
        age_s = 0.0 if since is None else self._clock() - since
        return Published(self._written, self._failures, age_s)

    def publish_once(self) -> bool:
        """One take; False if the store is away."""
        begun = self._clock()
        keys: list[bytes] = []
        try:
            if self._failures_in_a_row:
                self._store.ping()
            self._gone = self._gone or self._take_gone(self._limit)
            keys, blobs = self._read_dirty(self._limit)
            if self._gone:
                self._store.remove(self._gone)
                self._gone = []
            if keys:
                self._store.write(keys, blobs)
        except Retryable as error:
            self._fail(keys, error)
            return False
        except BaseException:
            self._give_back(keys)
            raise
        self._succeed(len(keys), begun)
        return True

    def _succeed(self, written: int, begun: float) -> None:
        if self._failures_in_a_row:
            log.info("the view store is back after %d failures", self._failures_in_a_row)
        self._failures_in_a_row = 0
        self._written += written
        if written < self._limit:
            self._clean_at, self._behind_since = begun, None
        else:
            self._behind_since = self._clean_at

    def _fail(self, keys: list[bytes], error: Retryable) -> None:
        self._failures += 1
        self._failures_in_a_row += 1
        self._behind_since = self._clean_at
        if keys:
            self._give_back(keys)
        if self._failures_in_a_row == 1:
            log.warning("views wait for their store: %s", error)

    def _pause_s(self) -> float:
        """Doubles with each failure in a row, up to a bound."""
        doubled: float = self._period_s * 2.0 ** min(self._failures_in_a_row, 16)
        return min(self._backoff_max_s, doubled) if self._failures_in_a_row else self._period_s

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s()):
            while self.publish_once() and self._behind_since is not None and not self._stopping.is_set():
                pass  # the rest of what changed, a take at a time
