"""Step 9, serve: the thread that writes changed views to their store.

The engine remembers which slots changed and gives their keys and blobs on request, so this thread
never holds more than one take. While the store is unavailable it takes nothing, and event processing
continues. While events arrive, views get at most `SHARE` of the time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from streams.errors import Retryable

from .store import ViewStore

PERIOD_S = 0.5  # half of the second within which a changed row must be visible
LIMIT = 10_000  # customers in a take: about 30 ms of this thread's time, 5 MB
BACKOFF_MAX_S = 10.0  # a store that returns is noticed within this time
FLUSH_TIMEOUT_S = 5.0
SHARE = 0.1  # of the time goes to views while events arrive: a view costs more than the event that changes it


class Taken(NamedTuple):
    """Keys and blobs to write, and what it cost to take them.

    `left`: after this many more writes, everything that waits now is written; 0 if nothing waits. `taking_s`: the
    seconds that the take stopped event processing, without the seconds that the take itself waited.
    """

    keys: list[bytes]
    blobs: list[bytes]
    left: int
    taking_s: float


ReadDirty = Callable[[int], Taken]
GiveBack = Callable[[Sequence[bytes]], None]
TakeGone = Callable[[int], list[bytes]]


def _nobody(limit: int) -> list[bytes]:
    return []


def _never() -> bool:
    return False


log = logging.getLogger(__name__)


class Published(NamedTuple):
    """The counters of a publisher."""

    written: int
    failures: int
    oldest_unwritten_s: float


class ViewPublisher:
    """Takes at most `limit` changed customers every `period_s` and writes them.

    `read_dirty(limit)` returns keys and blobs and marks them as unchanged; it must not return the same ones for ever
    while others wait. `give_back(keys)` marks keys as changed again. `take_gone(limit)` returns the keys of deleted
    customers. `busy()`: whether events arrive. All are called in this thread.
    """

    def __init__(
        self,
        store: ViewStore,
        read_dirty: ReadDirty,
        give_back: GiveBack,
        take_gone: TakeGone = _nobody,
        *,
        busy: Callable[[], bool] = _never,
        limit: int = LIMIT,
        period_s: float = PERIOD_S,
        backoff_max_s: float = BACKOFF_MAX_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._read_dirty, self._give_back = store, read_dirty, give_back
        self._take_gone, self._busy = take_gone, busy
        self._gone: list[
            bytes
        ] = []  # removed before the next write, so that a customer who comes back is written again
        self._limit, self._period_s, self._backoff_max_s = limit, period_s, backoff_max_s
        self._clock = clock
        self._written = self._failures = self._failures_in_a_row = 0
        # Every change before this time is written; None if no change is left over.
        self._behind_since: float | None = None
        self._clean_at = clock()
        # Changes up to `_mark_at` are all written once `_written` reaches `_mark_written`.
        self._mark_at, self._mark_written = self._clean_at, 0
        self._next_at = self._clean_at  # views have used up their share of the time until then
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="views", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, flush_timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """End the thread, then write what is left. Returns False if it could not write all."""
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
        """False once the thread has ended, by `stop` or by an unexpected error."""
        return self._thread.is_alive()

    def published(self) -> Published:
        """Return the counters. The age is an upper bound: every older change is written."""
        since = self._behind_since
        age_s = 0.0 if since is None else self._clock() - since
        return Published(self._written, self._failures, age_s)

    def publish_once(self) -> bool:
        """Take once and write. Returns False if the store is unavailable."""
        begun = self._clock()
        keys: list[bytes] = []
        try:
            if self._failures_in_a_row:
                self._store.ping()
            self._gone = self._gone or self._take_gone(self._limit)
            keys, blobs, left, taking_s = self._read_dirty(self._limit)
            writing_at = self._clock()
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
        self._next_at = begun + (taking_s + self._clock() - writing_at) / SHARE
        self._succeed(len(keys), left, begun)
        return True

    def _succeed(self, written: int, left: int, begun: float) -> None:
        if self._failures_in_a_row:
            log.info("the view store is back after %d failures", self._failures_in_a_row)
        self._failures_in_a_row = 0
        self._written += written
        if not left:
            self._mark_at = begun
        if self._written >= self._mark_written or not left:
            self._clean_at = self._mark_at
            self._mark_at, self._mark_written = begun, self._written + left
        self._behind_since = self._clean_at if left else None

    def _fail(self, keys: list[bytes], error: Retryable) -> None:
        self._failures += 1
        self._failures_in_a_row += 1
        self._behind_since = self._clean_at
        # keys given back wait behind those that changed meanwhile
        self._mark_at, self._mark_written = self._clean_at, 0
        if keys:
            self._give_back(keys)
        if self._failures_in_a_row == 1:
            log.warning("views wait for their store: %s", error)

    def _pause_s(self) -> float:
        """Return the pause before the next take; it doubles with each failure in a row, up to a bound."""
        if self._failures_in_a_row:
            doubled: float = self._period_s * 2.0 ** min(self._failures_in_a_row, 16)
            return min(self._backoff_max_s, doubled)
        if self._behind_since is None:
            return self._period_s
        if not self._busy():
            return 0.0  # take the rest at once
        return min(self._backoff_max_s, max(0.0, self._next_at - self._clock()))

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s()):
            self.publish_once()
