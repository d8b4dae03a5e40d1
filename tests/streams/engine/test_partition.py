"""Which views are taken, and in which order."""

from __future__ import annotations

import random

import numpy as np

from streams.engine.partition import VIEWS, Partition


def change(partition: Partition, slot: int) -> None:
    """As a pass notes it."""
    if partition.dirty[slot] & VIEWS == 0:
        partition.seen[partition.counts[1]] = slot
        partition.counts[1] += 1
        partition.dirty[slot] |= VIEWS


def test_changed_rows_are_taken_first_come_first_served() -> None:
    draw = random.Random(4)
    partition = Partition(0, 1, 1, np.zeros(4), np.zeros(0, np.int64))
    waiting: list[int] = []
    known = 0
    for _ in range(3_000):
        if known < 5_000:
            known = partition.index.slot_of(b"k%d" % known) + 1
            partition.make_room()
        for _ in range(draw.choice([0, 5, 400])):
            slot = draw.randrange(known)
            if slot not in waiting[-1:] and partition.dirty[slot] & VIEWS == 0:
                waiting.append(slot)
            change(partition, slot)
        assert partition.unseen == len(waiting)
        limit = draw.choice([0, 1, 7, 200, 10_000])
        taken = partition.take_seen(limit).tolist()
        assert taken == waiting[:limit]
        del waiting[:limit]
        if taken and draw.random() < 0.2:
            back = [slot for slot in taken if partition.dirty[slot] & VIEWS == 0]
            partition.give_back(np.array(taken))
            waiting += back
    assert partition.counts[1] <= len(partition.seen)
