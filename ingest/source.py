"""The interface of a connector: the events of one source, ordered by time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

# topic, key (the customer), time_ms (milliseconds since the epoch), framed Avro value
Event = tuple[str, bytes, int, bytes]

DEAD_LETTERS = "dead-letters"


class EventSource(Protocol):
    """Events that can be read repeatedly, always the same ones in the same order.

    `name` is short and stable; messages and the resume point use it.
    `topics` lists every topic that its events may name.
    `begins_ms` is the stream time from which a paced replay keeps pace; older events go out at once.
    None: the time of the first event that is no dead letter.
    """

    @property
    def name(self) -> str: ...

    @property
    def topics(self) -> tuple[str, ...]: ...

    @property
    def begins_ms(self) -> int | None: ...

    @property
    def total(self) -> int | None:
        """The number of events, dead letters included; None while it is not known."""

    @property
    def fingerprint(self) -> str:
        """A hash of the data and of their mapping. It changes whenever the events may change."""

    def events(self, start: int = 0) -> Iterator[Event]:
        """Yield the events from number `start` on, ordered by time; dead letters (time 0) come first."""
