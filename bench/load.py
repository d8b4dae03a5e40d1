"""A steady load, encoded before it is sent, so that sending takes almost no CPU of the cores under measurement.

The producers of a real installation do not run on the broker's cores. So the bench encodes every produce request
before the clock starts, as a producer would send it: the events of ten milliseconds, one lz4 record batch for each
partition, acknowledged by the leader. During the measurement a thread only writes the requests to a socket.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, get_native_id

from aiokafka.errors import for_code
from aiokafka.partitioner import murmur2
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streams.batches import LENGTH

from .site import PATIENCE_S
from .workload import product_mix as mix

NICE = 10
TURN_S = 0.01
ANSWER_S = 30.0
LATE_S = 10.0
ACKS = 1  # by the leader alone
MAX_BATCH_BYTES = 1 << 20  # the brokers' default
CORRELATION_BYTES = 4  # size of the id at the start of an answer


def start_load(
    bootstrap: str, rate: int, seconds: float, customers: int, partitions: int, only: int | None = None
) -> Future[None]:
    """Send `rate` events/s of `bench.workload.product_mix` in a thread (`only`: of this topic); return once it began.

    The future raises `RuntimeError` if the broker refuses events or does not keep up.
    """
    begun = Event()
    pool = ThreadPoolExecutor(1)
    loading = pool.submit(_load, bootstrap, rate, seconds, customers, partitions, only, begun)
    pool.shutdown(wait=False)
    if not begun.wait(PATIENCE_S):
        raise RuntimeError("the load did not start")
    return loading


def _load(
    bootstrap: str, rate: int, seconds: float, customers: int, partitions: int, only: int | None, begun: Event
) -> None:
    os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)  # for this thread only
    requests = [*_requests(rate, seconds, customers, partitions, only)]
    host, _, port = bootstrap.partition(":")
    with socket.create_connection((host, int(port)), ANSWER_S) as connection:
        answers = _Answers(connection)
        began = time.monotonic()
        begun.set()
        for number, request in enumerate(requests):
            time.sleep(max(0.0, began + number * TURN_S - time.monotonic()))
            connection.sendall(request)
            answers.take()
            if time.monotonic() - began > number * TURN_S + LATE_S:
                raise RuntimeError("the load is late: the broker does not keep up")
        answers.all_of(len(requests))


class _Answers:
    """The broker's answers: collected during the load, checked at its end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = bytearray()

    def take(self) -> None:
        """Read what has arrived, so that the broker is not blocked."""
        try:
            self._data += self._connection.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return

    def all_of(self, count: int) -> None:
        """Wait for `count` answers; raise the first refusal."""
        at = 0
        for _ in range(count):
            size = LENGTH.unpack(self._upto(at, at + LENGTH.size))[0]
            at += LENGTH.size
            body = self._upto(at, at + size)[CORRELATION_BYTES:]
            answer = ProduceResponse_v7.decode(body)
            at += size
            for topic, written in answer.topics:
                for partition, code, *_ in written:
                    if code:
                        raise RuntimeError(f"{topic}[{partition}] refused events: {for_code(code).__name__}")

    def _upto(self, start: int, stop: int) -> bytes:
        while len(self._data) < stop:
            more = self._connection.recv(1 << 16)
            if not more:
                raise RuntimeError("the broker closed the connection")
            self._data += more
        return bytes(self._data[start:stop])


def _requests(
    rate: int, seconds: float, customers: int, partitions: int, only: int | None
) -> Iterator[bytes]:
    """Yield the encoded produce request of each turn."""
    first_ms = int(time.time() * 1000)
    places: dict[bytes, int] = {}
    for chunk in mix.chunks(
        int(rate * seconds), customers, first_ms=first_ms, step_ms=1000.0 / rate, only=only
    ):
        for part in chunk:
            for key in part.keys:
                if key not in places:
                    places[key] = (murmur2(key) & 0x7FFFFFFF) % partitions
        turns = round(sum(len(part.keys) for part in chunk) / rate / TURN_S)
        for turn in range(turns):
            yield _request([(part.topic, _batches(part, turn, turns, places)) for part in chunk])


def _batches(part: mix.Encoded, turn: int, turns: int, places: dict[bytes, int]) -> list[tuple[int, bytes]]:
    """Return the record batches of one turn's events, by partition."""
    count = len(part.keys)
    events = slice(count * turn // turns, count * (turn + 1) // turns)
    made: dict[int, list[tuple[bytes, bytes]]] = {}
    for key, value in zip(part.keys[events], part.values[events], strict=True):
        made.setdefault(places[key], []).append((key, value))
    return [(place, _batch(records)) for place, records in made.items()]


def _batch(records: list[tuple[bytes, bytes]]) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=DefaultRecordBatch.CODEC_LZ4, is_transactional=False, producer_id=-1,
        producer_epoch=-1, base_sequence=-1, batch_size=MAX_BATCH_BYTES,
    )  # fmt: skip
    for number, (key, value) in enumerate(records):
        if builder.append(number, 0, key, value, []) is None:
            raise ValueError("more events in a turn than a record batch takes: lower the rate")
    return bytes(builder.build())


def _request(topics: list[tuple[str, list[tuple[int, bytes]]]]) -> bytes:
    written = [(topic, batches) for topic, batches in topics if batches]
    request = ProduceRequest_v7(None, ACKS, int(ANSWER_S * 1000), written)
    body: bytes = request.build_request_header(0, "load").encode() + request.encode()
    return LENGTH.pack(len(body)) + body
