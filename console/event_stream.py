"""Server-sent events for the live page: rendered once a tick, whoever looks on.

A client gets a snapshot of every region when it connects, then the regions that changed, and a
heartbeat each tick. One that does not keep up loses its stream and reconnects to a snapshot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import orjson

TICK_S = 1.0
CLIENTS_MAX = 500  # a slot and a few kB each; beyond that somebody else should fan out
QUEUE_MAX = 8  # messages: about four ticks of a client that does not read

Regions = dict[str, str]


class EventStream:
    """Renders regions (name -> HTML) once a tick and hands them to every client. Lives in one event loop."""

    def __init__(
        self, render: Callable[[], Regions], tick_s: float = TICK_S, clients_max: int = CLIENTS_MAX
    ) -> None:
        self._render, self._tick_s, self._clients_max = render, tick_s, clients_max
        self._regions: Regions = {}
        self._rendered_at = float("-inf")
        self._clients: set[asyncio.Queue[bytes | None]] = set()
        self.closed = False
        self.turns = 0  # for the watchdog: the page's loop turns

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def full(self) -> bool:
        return len(self._clients) >= self._clients_max

    async def run(self) -> None:
        """Tick until cancelled; with nobody there nothing is rendered."""
        while True:
            self.turns += 1
            if self._clients:
                self.tick()
            await asyncio.sleep(self._tick_s)

    def tick(self) -> None:
        """Render, and send what changed and a heartbeat to every client."""
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
        """The messages of one client, from its snapshot on."""
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
        """All regions; many clients that connect at once share one rendering.

        A fresh rendering here is sent to the others, too: they would miss its changes otherwise.
        """
        if time.monotonic() - self._rendered_at >= self._tick_s:
            changed = self._refresh()
            if changed:
                self._send(message("patch", changed))
        return message("snapshot", self._regions)

    def _refresh(self) -> Regions:
        """Render; the regions that changed."""
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
    """One server-sent event; JSON has no line breaks of its own."""
    return b"event: " + event.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
