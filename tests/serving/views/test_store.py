"""Both view stores keep the newest blob of each key and say when they are away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.servers import RedisServer
from serving.views.store import KEYS_PER_COMMAND, MemoryViews, RedisViews, ViewStore
from streams.errors import Fatal, Retryable


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[ViewStore]:
    made: ViewStore
    if request.param == "memory":
        made = MemoryViews()
    else:
        made = RedisViews(request.getfixturevalue("redis_server").url)
    yield made
    made.close()


def test_a_blob_is_read_back_as_it_was_written(store: ViewStore) -> None:
    store.ping()
    store.write([b"back", b"\xff\0"], [b"\0\xff" * 300, b""])
    assert store.read(b"back") == b"\0\xff" * 300
    assert store.read(b"\xff\0") == b""
    assert store.read(b"never written") is None


def test_another_prefix_is_another_store(redis_server: RedisServer) -> None:
    views, others = RedisViews(redis_server.url), RedisViews(redis_server.url, prefix=b"other:")
    others.write([b"same"], [b"1"])
    assert views.read(b"same") is None
    assert others.read(b"same") == b"1"
    others.remove([b"same"])
    assert others.read(b"same") is None
    views.close()
    others.close()


def test_the_newest_blob_wins_within_a_write_and_after_it(store: ViewStore) -> None:
    store.write([b"new", b"new"], [b"1", b"2"])
    assert store.read(b"new") == b"2"
    store.write([b"new"], [b"3"])
    assert store.read(b"new") == b"3"


def test_more_keys_than_one_command_takes_are_all_written(store: ViewStore) -> None:
    keys = [b"many-%d" % number for number in range(2 * KEYS_PER_COMMAND + 1)]
    store.write(keys, keys)
    assert all(store.read(key) == key for key in keys)
    store.write([], [])


def test_keys_and_blobs_must_pair_up(store: ViewStore) -> None:
    with pytest.raises(ValueError, match="2"):
        store.write([b"a", b"b"], [b"1"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=8), st.binary(max_size=40)), max_size=30))
def test_a_store_is_a_dictionary(store: ViewStore, pairs: list[tuple[bytes, bytes]]) -> None:
    store.write([key for key, _ in pairs], [blob for _, blob in pairs])
    assert all(store.read(key) == blob for key, blob in dict(pairs).items())


def test_redis_keeps_views_under_customer(redis_server: RedisServer) -> None:
    store = RedisViews(redis_server.url)
    store.write([b"anna"], [b"blob"])
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.get("customer:anna") == b"blob"
    store.close()


def test_a_redis_that_is_away_is_named_with_the_command_that_starts_one(
    stoppable_redis: RedisServer,
) -> None:
    port = stoppable_redis.port
    store = RedisViews(f"redis://user:secret@127.0.0.1:{port}/2")
    line = rf"Redis at redis://127\.0\.0\.1:{port}/2: .*; start one with `redis-server --port {port}`"
    calls: list[Callable[[], object]] = [
        store.ping,
        lambda: store.write([b"a"], [b"1"]),
        lambda: store.read(b"a"),
    ]
    for call in calls:
        with pytest.raises(Retryable, match=line) as raised:
            call()
        assert "secret" not in str(raised.value)
        assert "\n" not in str(raised.value)
    store.close()


def test_a_redis_that_comes_back_is_used_again(stoppable_redis: RedisServer) -> None:
    store = RedisViews(stoppable_redis.url)
    stoppable_redis.start()
    store.write([b"a"], [b"1"])
    stoppable_redis.stop()
    with pytest.raises(Retryable):
        store.read(b"a")
    stoppable_redis.start()
    assert store.read(b"a") is None
    store.close()


def test_a_redis_that_refuses_to_write_is_retryable(stoppable_redis: RedisServer) -> None:
    store = RedisViews(stoppable_redis.start().url)
    with redis.Redis.from_url(stoppable_redis.url) as client:
        client.execute_command("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(Retryable, match=r"maxmemory'; see its memory") as raised:
        store.write([b"anna"], [b"blob"])
    assert "anna" not in str(raised.value)
    store.close()


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://localhost", "redis://localhost:x", "redis://localhost/zero"]
)
def test_an_unusable_url_is_fatal(url: str) -> None:
    with pytest.raises(Fatal, match="expected redis://HOST:6379/0"):
        RedisViews(url)
