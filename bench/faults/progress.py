"""Measures progress by committed offsets: the longest gap after each kind of fault.

`longest_gap_s[KIND]`: every `LOOK_S` the bench compares the committed offset of each source partition in the workers'
group with the end of the partition. A partition *stands* from the last look at which it moved (or had no events
waiting) to the next such look. The bench attributes each standstill to the last fault that began before it, or within
`BLAME_S` of its beginning; the longest standstill of a kind is its gap. Workers of the bench commit once a second and a
commit takes a while, so an undisturbed partition stands for one to two seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

LOOK_S = 0.2
BLAME_S = 2.0
TIMEOUT_S = 2.0
Place = tuple[str, int]


class Progress:
    """A thread that watches the committed offsets and end offsets of a group's partitions."""

    def __init__(self, bootstrap: str, group: str, topics: Sequence[str], partitions: int) -> None:
        # A consumer that only asks and never joins: librdkafka's admin client fails an assertion when the broker ends.
        self._asking = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "log_level": 0,
                "reconnect.backoff.max.ms": 300,
            }
        )
        self._places = [(topic, number) for topic in topics for number in range(partitions)]
        self._seen: dict[Place, int] = dict.fromkeys(self._places, 0)
        self._moved_at: dict[Place, float] = {}
        self.faults: list[tuple[float, str]] = []  # (monotonic time, kind)
        self.gaps_s: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> Progress:
        """Start to watch."""
        self._moved_at = dict.fromkeys(self._places, time.monotonic())
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop watching, and close."""
        self._stop.set()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Close the connection to the broker."""
        self._asking.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(LOOK_S)  # then look once more, to end every standstill
            try:
                committed, ends = self.look()
            except KafkaException:
                continue
            now = time.monotonic()
            for place in self._places:
                moved = committed.get(place, 0) > self._seen[place]
                if stopping or moved or committed.get(place, 0) >= ends[place]:
                    self._stood(place, now)
                self._seen[place] = max(self._seen[place], committed.get(place, 0))

    def _stood(self, place: Place, now: float) -> None:
        began = self._moved_at[place]
        self._moved_at[place] = now
        if now - began < 2 * LOOK_S:
            return
        blamed = [kind for at, kind in self.faults if at <= min(now, began + BLAME_S)]
        if blamed:
            self.gaps_s[blamed[-1]] = max(self.gaps_s.get(blamed[-1], 0.0), now - began)

    def look(self) -> tuple[Mapping[Place, int], Mapping[Place, int]]:
        """Return committed and end offsets, by topic and partition. Raises `KafkaException` if no broker answers."""
        places = [TopicPartition(*place) for place in self._places]
        found = self._asking.committed(places, timeout=TIMEOUT_S)
        committed = {(at.topic, at.partition): max(0, at.offset) for at in found}
        ends = {}
        for at in places:
            _, ends[at.topic, at.partition] = self._asking.get_watermark_offsets(at, timeout=TIMEOUT_S)
        return committed, ends

    def behind(self) -> int:
        """Return the number of records not committed yet."""
        committed, ends = self.look()
        return sum(max(0, end - committed.get(place, 0)) for place, end in ends.items())
