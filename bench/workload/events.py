"""The events of the small job: generates them by number, encodes them in a kernel, fills a topic.

Customers are skewed (`int(customers * r**2)`, r uniform), and events are 10 ms apart. Event i does not
depend on the length of the topic, so a shorter topic is a prefix of a longer one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from numpy.typing import NDArray

from streams.kernels import kernel

from .job import ALERT_EVERY, FRAME_BYTES, PARTITIONS, SCHEMA_ID

Bytes: TypeAlias = NDArray[np.uint8]

FIRST_TS_MS = 1_700_000_000_000
STEP_MS = 10
SEED = 1
# Cumulative shares of page, search, cart and order.
KIND_BOUNDS = np.array([0.80, 0.90, 0.97])
PAGES = 1000
PRODUCTS = 500
MAX_SPEND = 100.0

CHUNK_EVENTS = 100_000
# frame 5, id 12, customer 9, time 10, kind 1, url 9, product 9, value 9
MAX_EVENT_BYTES = 64
CUSTOMER_AT = FRAME_BYTES + 1 + 11 + 1
CUSTOMER_BYTES = 8
MAX_CUSTOMERS = 10 ** (CUSTOMER_BYTES - 1)


@dataclass(frozen=True)
class Chunk:
    """Columns of consecutive events; `first` is the number of the first."""

    first: int
    customer: NDArray[np.int64]
    kind: NDArray[np.int64]
    page: NDArray[np.int64]
    product: NDArray[np.int64]
    value: NDArray[np.float64]


def chunks(events: int, customers: int, seed: int = SEED) -> Iterator[Chunk]:
    """Yield the first `events` events over `customers` customers."""
    if not 0 < customers <= MAX_CUSTOMERS:
        raise ValueError(f"customers must be 1 to {MAX_CUSTOMERS}, not {customers}")
    for first in range(0, events, CHUNK_EVENTS):
        rng = np.random.default_rng([seed, first])
        customer = (customers * rng.random(CHUNK_EVENTS) ** 2).astype(np.int64)
        kind = np.searchsorted(KIND_BOUNDS, rng.random(CHUNK_EVENTS), side="right")
        page = rng.integers(0, PAGES, CHUNK_EVENTS)
        product = rng.integers(0, PRODUCTS, CHUNK_EVENTS)
        value = rng.random(CHUNK_EVENTS) * MAX_SPEND
        n = min(CHUNK_EVENTS, events - first)
        yield Chunk(first, customer[:n], kind[:n], page[:n], product[:n], value[:n])


def expected_alerts(events: int, customers: int, seed: int = SEED) -> int:
    """The number of alerts that the topic must give: one for every ALERT_EVERY events of a customer."""
    counts = np.zeros(customers, np.int64)
    for chunk in chunks(events, customers, seed):
        counts += np.bincount(chunk.customer, minlength=customers)
    return int((counts // ALERT_EVERY).sum())


def encode(chunk: Chunk) -> list[bytes]:
    """Encode the events of a chunk as Kafka values, in order."""
    n = len(chunk.customer)
    out = np.empty(n * MAX_EVENT_BYTES, np.uint8)
    ends = np.empty(n, np.int64)
    bits = chunk.value.view(np.uint64)
    ts = FIRST_TS_MS + STEP_MS * (chunk.first + np.arange(n, dtype=np.int64))
    columns = (ts, chunk.customer, chunk.kind, chunk.page, chunk.product, bits)
    used = _encode(chunk.first, *columns, out, ends)
    data = out[:used].tobytes()
    bounds = [0, *ends.tolist()]
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


def customer_key(value: bytes) -> bytes:
    """Return the customer of an encoded event, which is the key of its record."""
    return value[CUSTOMER_AT : CUSTOMER_AT + CUSTOMER_BYTES]


def fill(bootstrap: str, topic: str, events: int, customers: int, seed: int = SEED) -> None:
    """Create the topic and produce the events as a well-configured producer does.

    Records are keyed by customer, with the partitioner of Kafka's own clients, lz4 and 50 ms of linger.
    """
    create_topic(bootstrap, topic)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 50,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for chunk in chunks(events, customers, seed):
        batch = [{"key": customer_key(value), "value": value} for value in encode(chunk)]
        while len(producer) > 1_000_000 - CHUNK_EVENTS:
            producer.poll(0.01)
        if producer.produce_batch(topic, batch) != len(batch):
            raise RuntimeError(f"the producer's queue refused events for {topic}")
        producer.poll(0)
    if producer.flush(60) != 0:
        raise RuntimeError(f"{topic} was not filled in time: the broker at {bootstrap} is stuck")
    if count_records(bootstrap, topic) != events:
        raise RuntimeError(f"{topic} does not hold {events} events: some were not delivered")


def create_topic(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> None:
    """Create a topic, by default with the partition count of the job; raise if it exists."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


def count_records(bootstrap: str, topic: str) -> int:
    """Return the number of records ever appended to a topic (if none was deleted)."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-count", "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), 10) for p in partitions]
    finally:
        consumer.close()
    return sum(high for _low, high in marks)


@kernel
def _encode(
    first: int,
    ts: NDArray[np.int64],
    customer: NDArray[np.int64],
    kind: NDArray[np.int64],
    page: NDArray[np.int64],
    product: NDArray[np.int64],
    value_bits: NDArray[np.uint64],
    out: Bytes,
    ends: NDArray[np.int64],
) -> int:
    """Write all events back to back into `out`, the end of each into `ends`; return the length."""
    at = 0
    for i in range(len(ts)):
        for byte in range(4):
            out[at + byte] = 0
        out[at + 4] = SCHEMA_ID
        at = _text(out, at + FRAME_BYTES, b"m", first + i, 10)
        at = _text(out, at, b"c", customer[i], CUSTOMER_BYTES - 1)
        at = _varint(out, at, ts[i])
        at = _varint(out, at, kind[i])
        at = _text(out, at, b"/p/", page[i], 0)
        at = _text(out, _varint(out, at, 1), b"sku", product[i], 0)
        is_order = kind[i] == 3
        at = _varint(out, at, 1 if is_order else 0)
        if is_order:
            for byte in range(8):
                out[at + byte] = (value_bits[i] >> np.uint64(8 * byte)) & np.uint64(255)
            at += 8
        ends[i] = at
    return at


@kernel
def _varint(out: Bytes, at: int, number: int) -> int:
    """Avro's zigzag variable-length integer, of a number that is not negative."""
    rest = number << 1
    while rest > 127:
        out[at] = rest & 127 | 128
        rest >>= 7
        at += 1
    out[at] = rest
    return at + 1


@kernel
def _text(out: Bytes, at: int, prefix: bytes, number: int, digits: int) -> int:
    """An Avro string: `prefix`, then `number` padded with zeros to at least `digits`."""
    length = 1
    rest = number // 10
    while rest > 0:
        length += 1
        rest //= 10
    length = max(length, digits)
    at = _varint(out, at, len(prefix) + length)
    for i in range(len(prefix)):
        out[at + i] = prefix[i]
    at += len(prefix)
    rest = number
    for i in range(length):
        out[at + length - 1 - i] = 48 + rest % 10
        rest //= 10
    return at + length
