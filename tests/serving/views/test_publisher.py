"""Changed views reach their store, and nothing piles up while it is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from bench.servers import RedisServer
from serving.views.publisher import SHARE, Taken, ViewPublisher
from serving.views.store import MemoryViews, RedisViews, ViewStore
from streams.errors import Retryable

Until = Callable[[Callable[[], bool]], None]


class Engine:
    """Remembers which customers changed, as the row table does."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, bytes] = {}
        self.dirty: dict[bytes, None] = {}
        self.takes: list[int] = []
        self.taking_s = 0.0
        self.wait: Callable[[], None] = lambda: None

    def change(self, key: bytes, blob: bytes) -> None:
        self.blobs[key] = blob
        self.dirty[key] = None

    def read_dirty(self, limit: int) -> Taken:
        self.wait()
        keys = list(self.dirty)[:limit]
        for key in keys:
            del self.dirty[key]
        self.takes.append(len(keys))
        return Taken(keys, [self.blobs[key] for key in keys], len(self.dirty), self.taking_s)

    def give_back(self, keys: Sequence[bytes]) -> None:
        self.dirty.update(dict.fromkeys(keys))


class Flaky(MemoryViews):
    """A store that is away when told so; `before_failing` lets the engine go on meanwhile."""

    away = False
    before_failing: Callable[[], None] = staticmethod(lambda: None)

    def write(self, keys: Sequence[bytes], blobs: Sequence[bytes]) -> None:
        if self.away:
            self.before_failing()
        self.ping()
        super().write(keys, blobs)

    def ping(self) -> None:
        if self.away:
            raise Retryable("the store is away")


class Slow(MemoryViews):
    """A store that takes its time."""

    def __init__(self, clock: Clock, write_s: float) -> None:
        super().__init__()
        self.clock, self.write_s = clock, write_s

    def write(self, keys: Sequence[bytes], blobs: Sequence[bytes]) -> None:
        self.clock.now += self.write_s
        super().write(keys, blobs)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def publisher(
    store: ViewStore, engine: Engine, period_s: float = 0.5, backoff_max_s: float = 3.0
) -> ViewPublisher:
    return ViewPublisher(
        store, engine.read_dirty, engine.give_back, limit=3, period_s=period_s, backoff_max_s=backoff_max_s
    )


def test_a_take_has_at_most_the_limit_and_the_rest_follows() -> None:
    store, engine = MemoryViews(), Engine()
    for number in range(7):
        engine.change(b"%d" % number, b"blob")
    views = publisher(store, engine)
    assert [views.publish_once() for _ in range(4)] == [True] * 4
    assert engine.takes == [3, 3, 1, 0]
    assert views.published().written == 7
    assert store.read(b"6") == b"blob"


def test_what_could_not_be_written_is_given_back_and_its_newest_blob_written_later() -> None:
    store, engine = Flaky(), Engine()
    engine.change(b"a", b"old")
    store.away = True
    store.before_failing = lambda: engine.change(b"a", b"new")
    views = publisher(store, engine)
    assert not views.publish_once()
    assert list(engine.dirty) == [b"a"]
    store.away = False
    assert views.publish_once()
    assert store.read(b"a") == b"new"
    assert views.published()[:2] == (1, 1)


def test_while_the_store_is_away_nothing_is_taken() -> None:
    store, engine = Flaky(), Engine()
    engine.change(b"a", b"1")
    store.away = True
    views = publisher(store, engine)
    for _ in range(5):
        views.publish_once()
    assert engine.takes == [1]
    assert views.published().failures == 5


def test_the_age_is_that_of_the_oldest_unwritten_view() -> None:
    store, engine, clock = Flaky(), Engine(), Clock()
    views = ViewPublisher(store, engine.read_dirty, engine.give_back, limit=3, clock=clock)
    views.publish_once()
    clock.now += 5
    assert views.published().oldest_unwritten_s == 0
    store.away = True
    engine.change(b"a", b"1")
    views.publish_once()
    clock.now += 7
    assert views.published().oldest_unwritten_s == 12
    store.away = False
    views.publish_once()
    assert views.published().oldest_unwritten_s == 0


def test_a_backlog_counts_as_unwritten() -> None:
    store, engine, clock = MemoryViews(), Engine(), Clock()
    for number in range(4):
        engine.change(b"%d" % number, b"blob")
    views = ViewPublisher(store, engine.read_dirty, engine.give_back, limit=3, clock=clock)
    clock.now += 1
    views.publish_once()
    assert views.published().oldest_unwritten_s == 1
    views.publish_once()
    assert views.published().oldest_unwritten_s == 0


def test_the_age_is_bounded_where_something_always_waits() -> None:
    store, engine, clock = MemoryViews(), Engine(), Clock()
    views = ViewPublisher(store, engine.read_dirty, engine.give_back, limit=3, clock=clock)
    changed_at: dict[bytes, float] = {}
    for number in range(100):
        for key in (b"%d" % new for new in range(9 if number == 0 else 3)):
            engine.change(b"%d " % number + key, b"blob")
            changed_at[b"%d " % number + key] = clock.now
        clock.now += 1
        views.publish_once()
        oldest_s = clock.now - min(changed_at[key] for key in engine.dirty)
        assert oldest_s <= views.published().oldest_unwritten_s <= oldest_s + 3


def test_what_is_given_back_is_as_old_as_before() -> None:
    store, engine, clock = Flaky(), Engine(), Clock()

    def more() -> None:
        for number in range(6):
            engine.change(b"new %d" % number, b"blob")

    views = ViewPublisher(store, engine.read_dirty, engine.give_back, limit=3, clock=clock)
    for number in range(9):
        engine.change(b"%d" % number, b"blob")
    views.publish_once()
    clock.now += 5
    store.away, store.before_failing = True, more
    views.publish_once()
    store.away = False
    for _ in range(3):
        views.publish_once()
    assert b"3" in engine.dirty
    assert views.published().oldest_unwritten_s == 5


@pytest.mark.parametrize(
    ("busy", "waiting_s", "share"),
    [(True, 0.0, SHARE), (True, 0.1, SHARE), (True, 0.36, 0.1), (False, 0.0, 1.0), (False, 0.04, 0.5)],
)
def test_while_events_wait_views_have_their_share_of_the_time(
    busy: bool, waiting_s: float, share: float
) -> None:
    engine, clock = Engine(), Clock()
    engine.taking_s = 0.01

    def wait() -> None:
        clock.now += waiting_s + engine.taking_s

    engine.wait = wait
    for number in range(30):
        engine.change(b"%d" % number, b"blob")
    store = Slow(clock, 0.03)
    views = ViewPublisher(store, engine.read_dirty, engine.give_back, busy=lambda: busy, limit=3, clock=clock)
    begun = clock.now
    while engine.dirty:
        views.publish_once()
        clock.now += views._pause_s() if engine.dirty else 0.0
    assert views.published().written == 30  # however long it takes
    assert 10 * (0.01 + 0.03) / (clock.now - begun) == pytest.approx(share, rel=0.1)


def test_who_is_not_behind_waits_as_long_as_ever_and_no_pause_is_without_bound() -> None:
    engine, clock = Engine(), Clock()
    views = ViewPublisher(
        Slow(clock, 60.0), engine.read_dirty, engine.give_back, busy=lambda: True, limit=3, period_s=0.5,
        backoff_max_s=3.0, clock=clock,
    )  # fmt: skip
    for number in range(4):
        engine.change(b"%d" % number, b"blob")
    views.publish_once()
    assert views._pause_s() == 3.0
    views.publish_once()
    assert views._pause_s() == 0.5


def test_an_unexpected_error_gives_the_keys_back_and_is_not_hidden() -> None:
    class Broken(MemoryViews):
        def write(self, keys: Sequence[bytes], blobs: Sequence[bytes]) -> None:
            raise RuntimeError("a bug")

    engine = Engine()
    engine.change(b"a", b"1")
    with pytest.raises(RuntimeError, match="a bug"):
        publisher(Broken(), engine).publish_once()
    assert list(engine.dirty) == [b"a"]


def test_the_pause_doubles_up_to_its_bound() -> None:
    store, engine = Flaky(), Engine()
    store.away = True
    engine.change(b"a", b"1")
    views = publisher(store, engine, period_s=0.5, backoff_max_s=3)
    pauses = []
    for _ in range(5):
        pauses.append(views._pause_s())
        views.publish_once()
    assert pauses == [0.5, 1, 2, 3, 3]


def test_the_thread_publishes_and_stopping_writes_what_is_left(until: Until) -> None:
    store, engine = MemoryViews(), Engine()
    views = publisher(store, engine, period_s=0.01)
    views.start()
    engine.change(b"a", b"1")
    until(lambda: store.read(b"a") == b"1")
    assert views.alive
    for number in range(8):
        engine.change(b"%d" % number, b"last")
    assert views.stop()
    assert not views.alive
    assert not engine.dirty


def test_stopping_does_not_wait_for_a_store_that_is_away() -> None:
    store, engine = Flaky(), Engine()
    store.away = True
    engine.change(b"a", b"1")
    views = publisher(store, engine)
    begun = time.monotonic()
    assert not views.stop()
    assert time.monotonic() - begun < 1
    assert list(engine.dirty) == [b"a"]


def test_views_are_written_when_redis_is_back(stoppable_redis: RedisServer, until: Until) -> None:
    store, engine = RedisViews(stoppable_redis.url), Engine()
    views = publisher(store, engine, period_s=0.02, backoff_max_s=0.1)
    views.start()
    engine.change(b"a", b"1")
    until(lambda: views.published().failures > 2)
    engine.change(b"b", b"2")
    stoppable_redis.start()
    until(lambda: views.published().written == 2)
    assert (store.read(b"a"), store.read(b"b")) == (b"1", b"2")
    assert views.stop()
    store.close()
