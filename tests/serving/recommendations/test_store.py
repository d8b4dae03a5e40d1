"""Recommendations where the page finds them: written when they change, kept waiting while their store is away."""

from __future__ import annotations

import asyncio
import threading

import orjson
import pytest

from config.settings import load_settings
from models.recommendation.shop import NOBODY, Recommended
from serving.recommendations import store as recommendations
from serving.recommendations.store import AT_ONCE, RecommendationWriter, recommendation_writer
from serving.views.store import MemoryViews
from streams.errors import Retryable


def score(customer: bytes) -> Recommended | None:
    return None if customer == b"unknown" else Recommended(5, 2, ((f"for {customer.decode()}", 0.5),))


class Away(MemoryViews):
    away = True

    def write(self, keys: object, blobs: object) -> None:
        if self.away:
            raise Retryable("Redis is away")
        super().write(keys, blobs)  # type: ignore[arg-type]


def test_whoever_changed_is_written_a_part_at_a_time() -> None:
    store = MemoryViews()
    store.write([b"unknown"], [b"{}"])
    made = RecommendationWriter(store, score)
    made.put([b"%d" % n for n in range(AT_ONCE + 1)])
    made.put([b"unknown"])
    assert asyncio.run(made.write_some())
    assert store.read(b"%d" % AT_ONCE) is None
    assert asyncio.run(made.write_some())
    assert made.written == AT_ONCE + 1
    assert store.read(b"unknown") is None
    blob = store.read(b"%d" % AT_ONCE)
    assert blob is not None
    assert orjson.loads(blob) == {
        "time": 5,
        "assortment": 2,
        "products": [{"product": f"for {AT_ONCE}", "score": 0.5}],
    }


def test_while_the_store_is_away_they_wait_and_are_scored_when_it_is_back() -> None:
    store = Away()
    made = RecommendationWriter(store, score)
    made.put([b"a", b"b"])
    assert not asyncio.run(made.write_some())
    assert made._pause_s() > RecommendationWriter(store, score)._pause_s()
    store.away = False
    assert asyncio.run(made.write_some())
    assert (made.written, made.failures) == (2, 1)
    assert store.read(b"a")


def test_without_redis_nothing_waits_and_the_port_answers() -> None:
    made = recommendation_writer("memory://", score)
    made.put([b"a"])
    assert not made._waiting
    with pytest.raises(Retryable, match="is starting"):
        made.answer(b"a")

    async def serve() -> None:
        running = asyncio.ensure_future(made.run())
        await asyncio.sleep(0)
        loop, answers = asyncio.get_running_loop(), list[object]()
        done = asyncio.Event()

        def ask() -> None:
            answers.extend([made.answer(b"a"), made.answer(b"unknown")])
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=ask).start()
        await done.wait()
        running.cancel()
        told = {"time": 5, "assortment": 2}
        assert answers == [
            {**told, "products": [{"product": f"for {who}", "score": 0.5}]} for who in ("a", "")
        ]

    asyncio.run(serve())


def test_the_page_asks_the_analyst_and_goes_on_without_it() -> None:
    asked: list[object] = []

    def ask(addresses: list[str], key: bytes) -> dict[str, object] | None:
        asked.append((addresses, key))
        if key == b"away":
            raise Retryable("no answer")
        return {"products": [{"product": "p", "score": 0.5}]} if key == b"a" else None

    read = recommendations.recommendation_reader(load_settings(roles="worker=w:1,analyst=a:2"), ask)
    assert [list(read(key)) for key in (b"a", b"away", b"nobody")] == [
        [{"product": "p", "score": 0.5}],
        [],
        [],
    ]
    assert asked[0] == (["a:2"], b"a")


def test_a_customer_who_is_not_in_redis_gets_what_is_popular() -> None:
    store = MemoryViews()
    assert recommendations._stored(store, b"a") is None
    store.write([NOBODY], [b'{"products": []}'])
    assert recommendations._stored(store, b"a") == {"products": []}
