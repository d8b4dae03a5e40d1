"""Responses come off the socket whole, whatever the pieces; a fetch response is not copied."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Any

import aiokafka.conn as conn
import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.frames import (
    LARGE_BYTES,
    LARGEST_FRAME_BYTES,
    Frame,
    FrameConnection,
    FrameProtocol,
    install,
)


def protocol() -> FrameProtocol:
    loop = asyncio.get_running_loop()
    return FrameProtocol(loop.create_future(), asyncio.StreamReader(loop=loop), loop=loop)


def pour(to: FrameProtocol, data: bytes, step: int) -> None:
    """As a transport does: never more at once than the buffer takes."""
    while data:
        room = to.get_buffer(-1)
        part = data[: min(step, len(room))]
        room[: len(part)] = part
        to.buffer_updated(len(part))
        data = data[len(part) :]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.integers(1, 400))
def test_responses_in_pieces_of_any_size(bodies: list[bytes], step: int) -> None:
    async def run() -> list[bytes]:
        to = protocol()
        pour(to, b"".join(struct.pack(">i", len(body)) + body for body in bodies), step)
        return [bytes(to.frames.get_nowait()) for _ in range(to.frames.qsize())]  # type: ignore[arg-type]

    assert asyncio.run(run()) == bodies


@pytest.mark.parametrize("size", [0, -1, LARGEST_FRAME_BYTES + 1, -(2**31)])
def test_a_size_that_no_broker_sends_ends_the_connection(size: int) -> None:
    async def run() -> None:
        pour(protocol(), struct.pack(">i", size), 4)

    with pytest.raises(ConnectionError, match="no Kafka broker's"):
        asyncio.run(run())


def test_who_waits_learns_at_once_that_the_broker_has_gone() -> None:
    """A half-open connection would keep a fetch waiting for its timeout of 90 seconds after a broker's restart."""

    async def run() -> None:
        async def go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)  # a request comes, and no answer
            writer.close()

        server = await asyncio.start_server(go, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        found = protocol()
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: found, host, port)
        transport.write(b"request")
        end = await asyncio.wait_for(found.frames.get(), 5)
        assert isinstance(end, Exception)
        assert transport.is_closing()
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def test_the_end_of_the_connection_reaches_who_waits() -> None:
    async def run() -> Any:
        to = protocol()
        pour(to, struct.pack(">i", 9) + b"half", 3)
        to.connection_lost(None)
        return await to.frames.get()

    assert isinstance(asyncio.run(run()), asyncio.IncompleteReadError)


def test_what_is_large_is_a_slice_and_what_is_small_is_a_copy() -> None:
    data = memoryview(bytearray(3 * LARGE_BYTES))
    frame = Frame(data)
    small, large, rest = frame.read(LARGE_BYTES - 1), frame.read(LARGE_BYTES), frame.read()
    assert (type(small), type(large), type(rest)) == (bytes, memoryview, memoryview)
    assert (len(small), len(large), len(rest)) == (LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1)
    data[LARGE_BYTES] = 7
    assert large[1] == 7
    assert frame.read(4) == b""  # as at the end of a file: aiokafka's types refuse it


def asked(request: Any, number: int) -> tuple[FrameConnection, asyncio.Future[Any]]:
    """A connection that waits for the response of one request."""
    made: Any = object.__new__(FrameConnection)
    waiting = asyncio.get_running_loop().create_future()
    made._requests = deque([(number, request, waiting)])
    made.closed = []
    made._host = made._port = ""
    made.close = lambda **why: made.closed.append(why)
    return made, waiting


def fetch_response(number: int, records: bytes) -> bytes:
    """Version 4: one topic, one partition."""
    head = struct.pack(">iii", number, 0, 1) + struct.pack(">h1si", 1, b"t", 1)
    return head + struct.pack(">ihqqii", 3, 0, 100, 90, 0, len(records)) + records


def test_a_fetch_response_keeps_slices_of_the_frame() -> None:
    async def run() -> tuple[Any, Any]:
        request = FetchRequest(10, 1, 100, 1, [("t", [(3, 0, 100)])]).prepare({1: (4, 4)})
        made, waiting = asked(request, 5)
        frame = memoryview(bytearray(fetch_response(5, bytes(LARGE_BYTES))))
        made._handle_frame(frame)
        return frame, await waiting

    frame, response = asyncio.run(run())
    ((topic, ((partition, error, highwater, stable, aborted, records),)),) = response.topics
    assert (topic, partition, error, highwater, stable, aborted) == ("t", 3, 0, 100, 90, [])
    frame[-1] = 9
    assert records[-1] == 9


def test_another_number_than_was_asked_for_closes_the_connection() -> None:
    async def run() -> tuple[Any, Any]:
        request = FetchRequest(10, 1, 100, 1, [("t", [(3, 0, 100)])]).prepare({1: (4, 4)})
        made, waiting = asked(request, 5)
        made._handle_frame(memoryview(fetch_response(6, b"")))
        return made, waiting.exception()

    made, error = asyncio.run(run())
    assert made.closed
    assert type(error).__name__ == "CorrelationIdError"


def test_any_other_response_is_aiokafkas_own_business() -> None:
    async def run() -> Any:
        made, waiting = asked(MetadataRequest([]).prepare({3: (0, 0)}), 5)
        made._handle_frame(memoryview(struct.pack(">iii", 5, 0, 0)))
        return await waiting

    assert asyncio.run(run()).brokers == []


def test_aiokafkas_connection_is_what_ours_stands_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_read", "_handle_frame", "_create_reader_task", "close"):
        assert callable(getattr(conn.AIOKafkaConnection, name))
    monkeypatch.setattr(conn, "AIOKafkaProtocol", conn.AIOKafkaProtocol)
    monkeypatch.setattr(conn, "AIOKafkaConnection", conn.AIOKafkaConnection)
    install()
    assert (conn.AIOKafkaProtocol, conn.AIOKafkaConnection) == (FrameProtocol, FrameConnection)
    assert issubclass(FrameProtocol, asyncio.BufferedProtocol)  # asyncio asks for nothing else
