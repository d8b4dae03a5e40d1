"""The product's own event mix: web, social and sales events, made by number and encoded by a kernel. Synthetic.

Event i is `step_ms` after event i - 1; customers are skewed (`int(customers * r**2)`). 94% are web events, 4% social,
2% sales (nine orders to a return, one to four lines each). The shares and moods are chosen so that about 1%
of the events lead to an alert or an offer of the shipped policies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import schemas
from streams.avro import put_decimal, put_double, put_frame, put_long
from streams.kernels import kernel

TOPICS = ("web.events", "social.events", "sales.events")
SHARES = np.array([0.94, 0.98])  # web, web + social; the rest is sales
WEB_KINDS = np.array(
    [0.64, 0.74, 0.94, 0.96, 0.98]
)  # page, search, view, cart_add, cart_remove; the rest checkout
SOCIAL_KINDS = np.array([0.5, 0.7, 0.85, 0.95])  # mention, review, email, ticket; the rest survey
ORDERS = 0.9
CHUNK_EVENTS = 100_000
MAX_EVENT_BYTES = 320
MAX_LINES = 4
SEED = 7


@dataclass(frozen=True)
class Encoded:
    """Events of one topic, in order: keys and framed values."""

    topic: str
    keys: list[bytes]
    values: list[bytes]


def chunks(
    events: int, customers: int, *, first_ms: int, step_ms: float, seed: int = SEED, only: int | None = None,
    in_turn: bool = False,
) -> Iterator[list[Encoded]]:  # fmt: skip
    """The first `events` events, a chunk at a time, by topic; `only` makes all of them of one topic, with `in_turn`
    one customer follows the other."""
    for first in range(0, events, CHUNK_EVENTS):
        n = min(CHUNK_EVENTS, events - first)
        times_ms = first_ms + step_ms * first
        # whole chunks are drawn, so that a shorter stream is a prefix of a longer one
        yield _drawn(CHUNK_EVENTS, first, n, customers, times_ms, step_ms, seed, only, in_turn)


def part(number: int, events: int, customers: int, *, first_ms: float, step_ms: float) -> list[Encoded]:
    """Part `number` of an endless stream, `events` long, from `first_ms` on."""
    return _drawn(events, number * events, events, customers, first_ms, step_ms, SEED, None, False)


def _drawn(
    drawn: int, first: int, n: int, customers: int, first_ms: float, step_ms: float, seed: int, only: int | None,
    in_turn: bool,
) -> list[Encoded]:  # fmt: skip
    ids = np.array([schemas.schema_id(schemas.TOPICS[topic]) for topic in TOPICS], np.int64)
    rng = np.random.default_rng([seed, first])
    customer = (customers * rng.random(drawn) ** 2).astype(np.int64)[:n]
    if in_turn:
        customer = (first + np.arange(n)) % customers
    topic = np.searchsorted(SHARES, rng.random(drawn), side="right")[:n]
    if only is not None:
        topic[:] = only
    draws = rng.random((drawn, 4))[:n]
    times = (first_ms + step_ms * np.arange(n)).astype(np.int64)
    return [_encode_topic(which, first, customer, topic, draws, times, ids) for which in range(len(TOPICS))]


def _encode_topic(
    which: int, first: int, customer: Any, topic: Any, draws: Any, times: Any, ids: Any
) -> Encoded:
    rows = np.flatnonzero(topic == which)
    out = np.zeros(len(rows) * MAX_EVENT_BYTES + 64, np.uint8)
    ends = np.zeros(len(rows) + 1, np.int64)
    kinds = _kinds(which, draws[rows, 0])
    used = encode_mix(which, ids[which], first + rows, kinds, times[rows], draws[rows], out, ends)
    data = out[:used].tobytes()
    values = [data[a:b] for a, b in itertools.pairwise(ends.tolist())]
    return Encoded(TOPICS[which], [b"c%07d" % number for number in customer[rows].tolist()], values)


def _kinds(which: int, draw: Any) -> Any:
    if which == 0:
        return np.searchsorted(WEB_KINDS, draw, side="right")
    if which == 1:
        return np.searchsorted(SOCIAL_KINDS, draw, side="right")
    return (draw >= ORDERS).astype(np.int64)


@kernel
def _text(data: Any, p: int, letter: int, number: int) -> int:
    """An Avro string: one letter, then `number` in ten digits."""
    p = put_long(data, p, 11)
    data[p] = letter
    return put_decimal(data, p + 1, 1_000_000_000 + number)


@kernel
def encode_mix(
    which: int, schema_id: int, numbers: Any, kinds: Any, times: Any, draws: Any, data: Any, ends: Any
) -> int:
    """Write events of one topic end to end; `ends: int64[n + 1]` bounds them. Returns the bytes written.

    `numbers, kinds, times: int64[n]`, `draws: float64[n, 4]` uniform in [0, 1).
    """
    p = 0
    for i in range(len(numbers)):
        p = put_frame(data, p, schema_id)
        p = _text(data, p, 109, numbers[i])  # m: the message id
        p = put_long(data, p, times[i])
        p = put_long(data, p, kinds[i])
        a = draws[i, 1]
        b = draws[i, 2]
        c = draws[i, 3]
        if which == 0:
            p = _text(data, p, 47, np.int64(a * 1000.0))  # a path
            for _ in range(2):  # product and category
                p = put_long(data, p, 1)
                p = _text(data, p, 112, np.int64(b * 500.0))
                b *= 0.04
            p = put_long(data, p, 1)
            p = put_double(data, p, c * 80.0)
            data[p] = 0  # no properties
            p += 1
        elif which == 1:
            p = put_long(data, p, 1)
            p = _text(data, p, 99, np.int64(a * 5.0))  # the channel
            p = put_long(data, p, 1)
            p = put_double(data, p, 1.0 - 2.0 * b * b)  # most are content
            p = put_long(data, p, 1)
            p = put_double(data, p, 10.0 * c)
            p = put_long(data, p, 1)
            p = _text(data, p, 116, numbers[i])
            data[p] = 0  # no topics
            data[p + 1] = b > 0.95  # the worst ones complain
            data[p + 2] = 0  # nobody means to leave
            p += 3
        else:
            p = _text(data, p, 111, numbers[i])
            p = put_double(data, p, 5.0 + 150.0 * a * a)
            p = put_double(data, p, 5.0 * b)
            lines = 1 + np.int64(c * MAX_LINES)
            p = put_long(data, p, lines)
            for line in range(lines):
                p = _text(data, p, 112, np.int64(b * 500.0) + line)
                p = put_long(data, p, 1)
                p = _text(data, p, 103, (np.int64(b * 40.0) + line) % 40)
                p = put_double(data, p, 1.0 + line)
                p = put_double(data, p, 10.0 * a)
                p = put_double(data, p, 0.0)
            data[p] = 0
            p = put_long(data, p + 1, 0)  # no store
            p = put_long(data, p, 0)  # no currency
        ends[i + 1] = p
    return p
