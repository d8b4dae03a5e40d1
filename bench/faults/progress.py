"""How far the roles have come, by what they committed: the longest gap after each kind of fault.

`longest_gap_s[KIND]`: every `LOOK_S` the committed offset of each source partition of the workers' group is compared
with the partition's end. A partition *stands* from the last look at which it moved (or had nothing waiting) to the
next one at which it does. Each time that it stands is put down to the fault that began last before the
standing did, or within `BLAME_S` of its beginning; the longest for a kind is its gap. Workers of the bench commit once
a second, and it takes a while until a commit is done, so that an undisturbed partition stands for one to two seconds.
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
    """A thread that looks at the committed offsets and ends of a group's partitions."""

    def __init__(self, bootstrap: str, group: str, topics: Sequence[str], partitions: int) -> None:
        # It only asks and never joins; librdkafka's admin client dies of an assertion when the broker goes.
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
        self.faults: list[tuple[float, str]] = []  # when (monotonic) and which kind
        self.gaps_s: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> Progress:
        """Begin to look."""
        self._moved_at = dict.fromkeys(self._places, time.monotonic())
        self._thread.start()
        return self

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Let go of the broker."""
        self._asking.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(LOOK_S)  # one more look then, which ends what still stands
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
        """Committed offsets and ends, by topic and partition. Raises `KafkaException` when no broker answers."""
        places = [TopicPartition(*place) for place in self._places]
        found = self._asking.committed(places, timeout=TIMEOUT_S)
        committed = {(at.topic, at.partition): max(0, at.offset) for at in found}
        ends = {}
        for at in places:
            _, ends[at.topic, at.partition] = self._asking.get_watermark_offsets(at, timeout=TIMEOUT_S)
        return committed, ends

    def behind(self) -> int:
        """Records that are not committed yet."""
        committed, ends = self.look()
        return sum(max(0, end - committed.get(place, 0)) for place, end in ends.items())
