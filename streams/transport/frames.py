"""Step 1: reads a fetch from the socket straight into the array that holds its bytes until they are decoded.

aiokafka reads through asyncio's StreamReader, which copies every byte three times while it holds the interpreter.
Here asyncio receives into an array of the response's size (`asyncio.BufferedProtocol`), and a fetch response keeps
slices of it. aiokafka is pinned; `tests/streams/transport/test_frames.py` fails when the internals used here change.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiokafka.conn as conn
import numpy as np
from aiokafka.protocol.fetch import FetchResponse_v0

SIZE_BYTES = 4
LARGE_BYTES = 4096  # from this size on a slice is cheaper than a copy; no name in a response is as long
LARGEST_FRAME_BYTES = 1 << 30  # no Kafka broker sends a larger response


class Frame:
    """A response as aiokafka's types read it; large parts come as slices and not as copies."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int | None = None) -> bytes | memoryview:
        """Return the next `size` bytes, or all that are left."""
        start = self._at
        self._at = len(self._data) if size is None or size < 0 else start + size
        part = self._data[start : self._at]
        return part if len(part) >= LARGE_BYTES else bytes(part)


class FrameProtocol(conn.AIOKafkaProtocol, asyncio.BufferedProtocol):  # type: ignore[misc]
    """Puts each response into `frames` as a memoryview, and at the end of the connection the error."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.frames: asyncio.Queue[memoryview | Exception] = asyncio.Queue()
        self._size = memoryview(bytearray(SIZE_BYTES))
        self._part = self._size
        self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes: the missing part of the size, or of the response."""
        return self._part[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of `nbytes` more bytes; queue the response when it is whole."""
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
        """Close the connection. A stream would keep it half open, and callers would wait for a timeout."""
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader of `frames` that no response will come any more."""
        super().connection_lost(exc)
        self.frames.put_nowait(exc or asyncio.IncompleteReadError(b"", SIZE_BYTES))


class FrameConnection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection, made to read frames."""

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
        """Decode a fetch response, which keeps slices of `frame`; leave any other response to aiokafka."""
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
    """Make every aiokafka client of this process read frames. Idempotent."""
    conn.AIOKafkaProtocol = FrameProtocol
    conn.AIOKafkaConnection = FrameConnection
