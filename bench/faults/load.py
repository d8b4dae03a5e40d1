"""Sends events at a steady pace while faults are injected. The seed determines the events, the clock their times.

While the broker is away the load draws no events. Otherwise the producer would append the backlog topic by topic, weeks
of one after weeks of the other, and no reader of the log could tell the second topic's events from late ones.

*Punctual* customers (`w…`, `s…`, `o…`) send to one topic each, in order of time: their rows are the same for any
merge of the topics. *Late* customers (`l…`) send to all three, some events late and some repeated. All amounts are
whole numbers, so that sums are exact.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, Producer

import schemas

WEB, SOCIAL, SALES = "web.events", "social.events", "sales.events"
FIRST_MS = 1_577_836_800_000  # 2020-01-01: long past, so that the wall clock triggers no deadline
DAY_MS = 86_400_000
SPAN_DAYS = 120.0
# An order's deadline is 40 days (bench.faults.declared); both are far from it.
ACTIVE_DAYS, SILENT_DAYS = 8.0, 75.0
TICK_S = 0.02
# Topics of one partition number may differ by this much: far less than the distance of deadlines to the next event.
UNDELIVERED_S = 0.5
RECENT = 300  # events of late customers that a burst repeats
WEB_KINDS = ("page", "search", "view", "cart_add", "cart_remove", "checkout")
SOCIAL_KINDS = ("mention", "review", "email", "ticket", "survey")
Place = tuple[str, int, int]  # topic, partition, offset


@dataclass(frozen=True, slots=True)
class Event:
    """One record to send; with `partition` -1 its key determines the partition."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1


class Customers:
    """Draws `events` events, one after the other."""

    def __init__(self, seed: int, events: int) -> None:
        self._rng = random.Random(f"load {seed}")
        self._step_ms = SPAN_DAYS * DAY_MS / events
        self._number = 0
        self._large: set[bytes] = set()  # late customers who have placed their one large order
        self._unhappy: set[bytes] = set()  # late customers who have given their one bad rating
        starts = [self._rng.uniform(0, SPAN_DAYS / 3) for _ in range(300)]
        self._windows = [(start, start + ACTIVE_DAYS) for start in starts]

    def next(self) -> tuple[Event, bool]:
        """Draw an event, and whether it may be repeated."""
        rng = self._rng
        time_ms = FIRST_MS + int(self._number * self._step_ms)
        self._number += 1
        draw = rng.random()
        if draw < 0.42:
            return self._web(b"w%04d" % rng.randrange(500), time_ms), False
        if draw < 0.55:
            return self._social(b"s%04d" % rng.randrange(300), time_ms, rng.randrange(11)), False
        if draw < 0.70:
            active = self._active((time_ms - FIRST_MS) / DAY_MS)
            if active is not None:
                return self._order(b"o%04d" % active, time_ms, rng.randrange(1, 101)), False
        return self._late(time_ms), True

    def _active(self, day: float) -> int | None:
        """A punctual customer who orders around this day. Each orders in two periods, with a long silence between."""
        for _ in range(8):
            number = self._rng.randrange(len(self._windows))
            start, end = self._windows[number]
            if start <= day < end or start + SILENT_DAYS <= day < end + SILENT_DAYS:
                return number
        return None

    def _late(self, time_ms: int) -> Event:
        rng = self._rng
        key = b"l%04d" % rng.randrange(400)
        if rng.random() < 0.3:
            time_ms -= rng.randrange(2 * DAY_MS)
        draw = rng.random()
        if draw < 0.5:
            return self._web(key, time_ms)
        if draw < 0.75:
            bad = key not in self._unhappy
            self._unhappy.add(key)
            return self._social(key, time_ms, 2 if bad else 8)
        large = key not in self._large
        self._large.add(key)
        return self._order(key, time_ms, 80 if large else rng.randrange(1, 60))

    def _web(self, key: bytes, time_ms: int) -> Event:
        value = {**self._head(time_ms), "kind": self._rng.choice(WEB_KINDS), "url": "/", "properties": {}}
        value |= {"product": None, "category": None, "value": float(self._rng.randrange(100))}
        return Event(WEB, key, schemas.encode("web_event", value))

    def _social(self, key: bytes, time_ms: int, rating: int) -> Event:
        kind = "review" if rating == 2 else self._rng.choice(SOCIAL_KINDS)
        value = {**self._head(time_ms), "kind": kind, "channel": None, "sentiment": None, "text": None}
        return Event(SOCIAL, key, schemas.encode("social_event", {**value, "rating": float(rating)}))

    def _order(self, key: bytes, time_ms: int, amount: int) -> Event:
        rng = self._rng
        lines = [
            {
                "product": "p",
                "category": f"c{rng.randrange(40)}",
                "quantity": 1.0,
                "amount": 1.0,
                "discount": 0.0,
            }
            for _ in range(rng.randint(1, 3))
        ]
        value = {**self._head(time_ms), "kind": "order", "order_id": "", "amount": float(amount)}
        value |= {"discount": float(rng.randrange(5)), "lines": lines, "store": None, "currency": ""}
        return Event(SALES, key, schemas.encode("sales_event", value))

    def _head(self, time_ms: int) -> dict[str, Any]:
        return {"message_id": f"m{self._number}", "time": time_ms}

    def late_burst(self, count: int) -> list[Event]:
        """Draw events of late customers, all up to two days late."""
        time_ms = FIRST_MS + int(self._number * self._step_ms)
        found = []
        for _ in range(count):
            self._number += 1
            found.append(self._late(time_ms - self._rng.randrange(2 * DAY_MS)))
        return found


def poisoned(rng: random.Random, partitions: int) -> list[Event]:
    """Make records that no role can process, one of each kind, for every topic that a role reads."""
    head = {"message_id": "poison", "time": FIRST_MS}
    web = {
        **head,
        "kind": "page",
        "url": "/",
        "product": None,
        "category": None,
        "value": None,
        "properties": {},
    }
    good = schemas.encode("web_event", web)
    social = {**head, "kind": "survey", "channel": None, "sentiment": None, "text": None, "rating": 99.0}
    sorts: list[tuple[str, bytes | None, bytes | None]] = [
        (WEB, b"poison", None),
        (WEB, None, good),
        (WEB, b"\0poison", good),
        (WEB, b"\xff\xfe", good),
        (WEB, b"poison", b"not framed"),
        (WEB, b"poison", good[:9]),
        (WEB, b"poison", b"\0\0\0\x7f\x7f" + good[5:]),
        (WEB, b"poison", schemas.encode("web_event", {**web, "time": 1})),
        (SOCIAL, b"poison", schemas.encode("social_event", social)),
        (SALES, b"poison", good),
        ("training.examples", b"poison", b"no example"),
        ("training.examples", b"poison", None),
        ("alerts", b"poison", b"no decision"),
        ("offers", b"poison", good),
    ]
    return [Event(topic, key, value, rng.randrange(partitions)) for topic, key, value in sorts]


class Load:
    """A thread that sends `rate` events/s for `seconds`, and bursts and poison on request."""

    def __init__(self, bootstrap: str, seed: int, *, rate: int, seconds: float) -> None:
        self._rate, self._seconds = rate, seconds
        self._customers = Customers(seed, int(rate * seconds))
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._rng = random.Random(f"duplicates {seed}")
        self._requests: deque[Callable[[], None]] = deque()
        self.sent = self.delivered = 0
        self.failed: list[str] = []
        self.poison: set[Place] = set()  # positions of poison records
        self.started_at = 0.0
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4",
                "partitioner": "murmur2_random", "log_level": 0, "reconnect.backoff.max.ms": 500,
                "queue.buffering.max.messages": 1_000_000,
            }
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> Load:
        """Start to send."""
        self.started_at = time.monotonic()
        self._thread.start()
        return self

    def join(self) -> None:
        """Wait until all events are sent and acknowledged."""
        self._thread.join()
        left = self._producer.flush(60)
        if left or self.failed:
            raise RuntimeError(f"{left} events of the load were not delivered: {self.failed[:3]}")

    def burst(self) -> None:
        """Ask the thread to repeat the latest events of late customers three times, and to send as many late ones."""
        self._requests.append(self._burst)

    def inject(self, events: list[Event]) -> None:
        """Ask the thread to send these poison records."""
        self._requests.append(lambda: self._poison(events))

    def _poison(self, events: list[Event]) -> None:
        for event in events:
            self._send(event, poison=True)

    def _burst(self) -> None:
        again = list(self._recent)
        for _ in range(3):
            for event in again:
                self._send(event)
        for event in self._customers.late_burst(RECENT):
            self._send(event)

    def _run(self) -> None:
        total = int(self._rate * self._seconds)
        drawn = 0
        began = looked = time.monotonic()
        while drawn < total or self._requests:
            while self._requests:
                self._requests.popleft()()
            now = time.monotonic()
            if self.sent - self.delivered > self._rate * UNDELIVERED_S:
                began += now - looked  # the broker is away, so stop the clock of the events
            looked = now
            due = min(total, int((now - began) * self._rate))
            for _ in range(due - drawn):
                event, repeatable = self._customers.next()
                self._send(event)
                if repeatable:
                    self._recent.append(event)
                    if self._rng.random() < 0.05:
                        self._send(event)
            drawn = max(drawn, due)
            self._producer.poll(0)
            time.sleep(TICK_S)

    def _send(self, event: Event, *, poison: bool = False) -> None:
        def delivered(error: KafkaError | None, message: Any) -> None:
            if poison and error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                self.sent -= 1  # another fault makes the topic refuse deliveries now
                self.inject([event])
                return
            if error is not None:
                self.failed.append(error.str())
                return
            self.delivered += 1
            if poison:
                self.poison.add((message.topic(), message.partition(), message.offset()))

        where = {} if event.partition < 0 else {"partition": event.partition}
        self._producer.produce(event.topic, key=event.key, value=event.value, on_delivery=delivered, **where)
        self.sent += 1
