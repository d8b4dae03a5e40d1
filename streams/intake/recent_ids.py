"""Recognises repeated records: a role that was killed sends those since its last commit again, with the same ids."""

from __future__ import annotations

from collections import deque

from streams.kernels import hash_bytes

# For one partition. A worker without a commit for a minute ends itself (streams.supervision.watchdog); one that folds
# 100,000 events a second over 12 partitions and makes examples of 4% of them sends 20,000 a partition in that time.
WINDOW = 1 << 15
FRAME_BYTES = 5  # a zero byte, the schema's id in four


class RecentIds:
    """The ids of the latest `window` records of each partition, as hashes of 8 bytes."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._order: dict[int, deque[int]] = {}
        self._ids: dict[int, set[int]] = {}

    def add(self, partition: int, value: bytes | None) -> bool:
        """Enter a record's id; returns false when it is known. A record without an id is always new."""
        identity = identity_of(value or b"")
        return identity is None or self.enter(partition, identity)

    def enter(self, partition: int, identity: bytes) -> bool:
        """Enter an id; returns false when it is known."""
        order = self._order.setdefault(partition, deque())
        ids = self._ids.setdefault(partition, set())
        name = hash_bytes(identity)
        if name in ids:
            return False
        ids.add(name)
        order.append(name)
        if len(order) > self._window:
            ids.discard(order.popleft())
        return True


def identity_of(value: bytes) -> bytes | None:
    """Return the first field, a string, of a framed Avro record without decoding the others; None when malformed."""
    size, shift, at = 0, 0, FRAME_BYTES
    while True:
        if at >= len(value) or shift > 28:
            return None
        byte = value[at]
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    found = value[at : at + (size >> 1)]
    return found if size & 1 == 0 and len(found) == size >> 1 else None
