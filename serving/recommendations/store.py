"""Stores recommendations in Redis beside the views; without Redis, the analyst's HTTP port serves them.

The writer remembers which customers changed, not their recommendations. While Redis is unavailable the customers wait
and event processing continues.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import orjson

from config.settings import Settings
from models.recommendation import NOBODY, Recommended
from serving.views import RedisViews, ViewStore
from streams.errors import Retryable

log = logging.getLogger(__name__)

PREFIX: Final = b"recommendations:"
AT_ONCE: Final = 1000  # customers scored in one go while the event loop waits: about ten milliseconds
PAUSE_S: Final = 0.25
BACKOFF_MAX_S: Final = 10.0
ANSWER_S: Final = 1.5

Score = Callable[[bytes], Recommended | None]


class RecommendationWriter:
    """Writes the recommendations of customers who were `put`, computed at the time of writing."""

    def __init__(self, store: ViewStore | None, score: Score) -> None:
        self._store, self._score = store, score
        self._waiting: dict[bytes, None] = {}
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.written = self.failures = 0
        self._failures_in_a_row = 0

    def put(self, customers: Iterable[bytes]) -> None:
        """Mark these customers as changed."""
        if self._store is not None:
            self._waiting.update(dict.fromkeys(customers))
            self._changed.set()

    def answer(self, customer: bytes) -> Mapping[str, Any] | None:
        """Return the recommendations of one customer, or popular products. For the HTTP port.

        Call it in another thread than the event loop's: it waits for the loop.
        """
        if self._loop is None:
            raise Retryable("the analyst is starting")
        try:
            found = asyncio.run_coroutine_threadsafe(self._ask(customer), self._loop).result(ANSWER_S)
        except TimeoutError as error:
            raise Retryable("the analyst is busy") from error
        return None if found is None else as_json(found)

    async def _ask(self, customer: bytes) -> Recommended | None:
        return self._score(customer) or self._score(NOBODY)

    async def run(self) -> None:
        """Write, and allow `answer`, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._waiting:
                more = await self.write_some()
                await asyncio.sleep(0 if more else self._pause_s())

    def _pause_s(self) -> float:
        return min(BACKOFF_MAX_S, PAUSE_S * 2.0 ** min(self._failures_in_a_row, 16))

    async def write_some(self) -> bool:
        """Write some of the waiting customers; False if the store does not answer."""
        assert self._store is not None
        customers = list(islice(self._waiting, AT_ONCE))
        for customer in customers:
            del self._waiting[customer]
        found = {customer: self._score(customer) for customer in customers}
        blobs = {
            customer: orjson.dumps(as_json(each)) for customer, each in found.items() if each is not None
        }
        gone = [customer for customer, each in found.items() if each is None]
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._write, blobs, gone)
        except Retryable as error:
            self._waiting.update(dict.fromkeys(customers))
            self.failures += 1
            self._failures_in_a_row += 1
            if self._failures_in_a_row == 1:
                log.warning("recommendations wait for their store: %s", error)
            return False
        self.written += len(blobs)
        self._failures_in_a_row = 0
        return True

    def _write(self, blobs: dict[bytes, bytes], gone: list[bytes]) -> None:
        assert self._store is not None
        if gone:
            self._store.remove(gone)
        self._store.write(list(blobs), list(blobs.values()))


def recommendation_writer(redis: str, score: Score) -> RecommendationWriter:
    """Return a writer to Redis, or one that stores nothing if no Redis is configured."""
    return RecommendationWriter(
        None if redis.startswith("memory") else RedisViews(redis, prefix=PREFIX), score
    )


def as_json(found: Recommended) -> dict[str, Any]:
    """Return recommendations in the form that the page reads."""
    products = [{"product": name, "score": score} for name, score in found.products]
    return {"time": found.time_ms, "assortment": found.version, "products": products}


Products = Sequence[Mapping[str, Any]]

Read = Callable[[bytes], Products]


def recommendation_reader(
    settings: Settings, ask: Callable[[list[str], bytes], Mapping[str, Any] | None]
) -> Read:
    """Return a function that gives the products of a customer, best first; none if no source answers."""
    if settings.redis.startswith("memory"):
        analysts = [at for role, at in settings.role_addresses.items() if role.startswith("analyst")]
        return lambda key: _products(lambda: ask(analysts, key))
    store = RedisViews(settings.redis, prefix=PREFIX)
    return lambda key: _products(lambda: _stored(store, key))


def _stored(store: ViewStore, key: bytes) -> Mapping[str, Any] | None:
    blob = store.read(key) or store.read(NOBODY)
    found = orjson.loads(blob) if blob else None
    return found if isinstance(found, dict) else None


def _products(read: Callable[[], Mapping[str, Any] | None]) -> Products:
    """Read, but give no products on an error: the page is better without them than not at all."""
    try:
        found = read()
    except (Retryable, orjson.JSONDecodeError):
        return []
    return found.get("products", []) if found else []
