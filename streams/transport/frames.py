"""Step 1: how the bytes of a fetch come off the socket: into the array that they stay in until they are decoded.

aiokafka reads through asyncio's StreamReader, which copies every byte three times while it holds the interpreter.
Here asyncio receives into an array of the response's size (`asyncio.BufferedProtocol`), and a fetch response keeps
slices of it. aiokafka is pinned; `tests/streams/transport/test_frames.py` fails when what is relied on changes.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiokafka.conn as conn
import numpy as np
from aiokafka.protocol.fetch import FetchResponse_v0

SIZE_BYTES = 4
LARGE_BYTES = 4096  # a slice pays from here on; no name in a response is as long
LARGEST_FRAME_BYTES = 1 << 30  # a size beyond this is no Kafka broker's


class Frame:
    """A response as aiokafka's types read it; what is large comes as a slice and not as a copy."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int | None = None) -> bytes | memoryview:
        """The next `size` bytes, or all that are left."""
        start = self._at
        self._at = len(self._data) if size is None or size < 0 else start + size
        part = self._data[start : self._at]
        return part if len(part) >= LARGE_BYTES else bytes(part)


class FrameProtocol(conn.AIOKafkaProtocol, asyncio.BufferedProtocol):  # type: ignore[misc]
    """Puts each response into `frames` as a memoryview; at the end of the connection, the error."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.frames: asyncio.Queue[memoryview | Exception] = asyncio.Queue()
        self._size = memoryview(bytearray(SIZE_BYTES))
        self._part = self._size
        self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: what is still missing of the size, or of the response."""
        return self._part[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` more have come."""
        self._filled += nbytes
        if self._filled < len(self._part):
            return
        self._filled = 0
        if self._part is not self._size:
            self.frames.put_nowait(self._part)
            self._part = self._size
            return
        size = int.from_bytes(self._size, "big")
        if not 0 < size <= LARGEST_FRAME_BYTES:
            raise ConnectionError(f"a response of {size} bytes is no Kafka broker's")
        self._part = np.empty(size, np.uint8).data

    def eof_received(self) -> bool:
        """The broker has gone. Streams would keep the connection half open, and who waits would wait till a timeout."""
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for a response learns that none will come."""
        super().connection_lost(exc)
        self.frames.put_nowait(exc or asyncio.IncompleteReadError(b"", SIZE_BYTES))


class FrameConnection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection, reading frames."""

    @staticmethod
    async def _read(self_ref: Any) -> None:
        self = self_ref()
        if self is None:
            return
        frames = self._protocol.frames
        del self
        while True:
            frame = await frames.get()
            if isinstance(frame, Exception):
                raise frame
            self = self_ref()
            if self is None:
                return
            self._handle_frame(frame)
            del self, frame

    def _handle_frame(self, frame: memoryview) -> None:
        """A fetch response keeps slices of `frame`; every other one is aiokafka's own business."""
        number, request, waiting = self._requests[0]
        if number is not None and request.RESPONSE_TYPE.API_KEY == FetchResponse_v0.API_KEY:
            data = Frame(frame)
            if request.parse_response_header(data).correlation_id == number and not waiting.done():
                waiting.set_result(request.RESPONSE_TYPE.decode(data))
                self._last_action = time.monotonic()
                self._requests.popleft()
                return
        super()._handle_frame(bytes(frame))


def install() -> None:
    """Let every aiokafka client of this process read frames. Idempotent."""
    conn.AIOKafkaProtocol = FrameProtocol
    conn.AIOKafkaConnection = FrameConnection
