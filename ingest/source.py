"""What a connector gives: the events of one source, in the order of their times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

# topic, key (the customer), time_ms (milliseconds since the epoch), framed Avro value
Event = tuple[str, bytes, int, bytes]

DEAD_LETTERS = "dead-letters"


class EventSource(Protocol):
    """Events that can be read again and again, always the same ones in the same order.

    `name` is short and stable, for messages and for the resume point.
    `topics` are all that its events may name.
    `begins_ms` is the stream time from which a paced replay keeps pace; what is older goes out at once.
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
        """The number of events with the dead letters; None while that is not known."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the events may: it depends on the data and on how they are mapped."""

    def events(self, start: int = 0) -> Iterator[Event]:
        """The events from number `start` on, ordered by time; dead letters (time 0) come first."""
