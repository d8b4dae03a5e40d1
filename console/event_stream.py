"""Server-sent events for the live page, rendered once per tick for all clients.

When a client connects it gets a snapshot of every region, then at each tick the regions that changed
and a heartbeat. A client that falls behind loses its stream; it reconnects and gets a new snapshot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import orjson

TICK_S = 1.0
CLIENTS_MAX = 500  # a slot and a few kB each; for more, put a fan-out server in front
QUEUE_MAX = 8  # messages: about four ticks for a client that does not read

Regions = dict[str, str]


class EventStream:
    """Renders regions (name -> HTML) once per tick and sends them to every client. Runs in one event loop."""

    def __init__(
        self, render: Callable[[], Regions], tick_s: float = TICK_S, clients_max: int = CLIENTS_MAX
    ) -> None:
        self._render, self._tick_s, self._clients_max = render, tick_s, clients_max
        self._regions: Regions = {}
        self._rendered_at = float("-inf")
        self._clients: set[asyncio.Queue[bytes | None]] = set()
        self.closed = False
        self.turns = 0  # rises while the event loop runs; the watchdog checks it

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def full(self) -> bool:
        return len(self._clients) >= self._clients_max

    async def run(self) -> None:
        """Tick until cancelled; without clients, render nothing."""
        while True:
            self.turns += 1
            if self._clients:
                self.tick()
            await asyncio.sleep(self._tick_s)

    def tick(self) -> None:
        """Render, and send the changed regions and a heartbeat to every client."""
        changed = self._refresh()
        if changed:
            self._send(message("patch", changed))
        self._send(message("beat", {"time_ms": int(time.time() * 1000)}))

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self.closed = True
        for queue in list(self._clients):
            self._drop(queue)

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the messages for one client, the snapshot first."""
        if self.closed:
            return
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MAX)
        snapshot = self._snapshot()
        self._clients.add(queue)
        try:
            yield snapshot
            while (sent := await queue.get()) is not None:
                yield sent
        finally:
            self._clients.discard(queue)

    def _snapshot(self) -> bytes:
        """Return a message with all regions; clients that connect together share one rendering.

        If it renders anew it sends the changes to the other clients too, as they would miss them otherwise.
        """
        if time.monotonic() - self._rendered_at >= self._tick_s:
            changed = self._refresh()
            if changed:
                self._send(message("patch", changed))
        return message("snapshot", self._regions)

    def _refresh(self) -> Regions:
        """Render; return the regions that changed."""
        before, self._regions = self._regions, self._render()
        self._rendered_at = time.monotonic()
        return {name: html for name, html in self._regions.items() if before.get(name) != html}

    def _send(self, sent: bytes) -> None:
        for queue in list(self._clients):
            try:
                queue.put_nowait(sent)
            except asyncio.QueueFull:
                self._drop(queue)

    def _drop(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._clients.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)


def message(event: str, data: object) -> bytes:
    """Encode one server-sent event; the JSON has no line breaks."""
    return b"event: " + event.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
