"""The inbox is a queue for each topic, however often it grows and is compacted."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.batches.columns import Columns
from streams.engine.inbox import NO_LIMIT, Inbox, merge
from tests.streams.arrays import many

TOPICS, FIELDS = 3, 2


def columns(draw: random.Random, count: int, offset: int) -> Columns:
    """`count` records, some of them bad, whose numbers all follow from their offsets."""
    offsets = np.arange(offset, offset + count)
    fields = np.stack([offsets * 2.0, offsets * 3.0], 1).reshape(count, FIELDS)
    status = np.array([draw.random() < 0.1 for _ in range(count)], np.uint8)
    times = np.array([float(draw.randrange(50)) for _ in range(count)])
    nowhere = np.zeros(count, np.int64)
    return Columns(
        count, int(status.sum()), offsets, times, (offsets % 7).astype(np.int32), -offsets, fields, status,
        nowhere, nowhere, nowhere, nowhere,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_what_goes_in_comes_out_in_order_and_whole(seed: int) -> None:
    draw = random.Random(seed)
    inbox = Inbox(TOPICS, FIELDS, capacity=4)
    queues: list[list[tuple[float, int]]] = [[] for _ in range(TOPICS)]
    following = [0] * TOPICS
    for _ in range(60):
        topic, count = draw.randrange(TOPICS), draw.choice((0, 1, 3, 9))
        new = columns(draw, count, following[topic])
        start = inbox.reserve(count)
        inbox.slots[start : start + count] = 10 * topic + new.offsets % 10
        good = [i for i in range(count) if not new.status[i]]
        assert inbox.accept(topic, start, new) == len(good)
        queues[topic] += [(float(new.times[i]), following[topic] + i) for i in good]
        following[topic] += count
        assert inbox.pending.tolist() == [len(queue) for queue in queues]
        if draw.random() < 0.5:
            inbox.waiting[:] = [draw.random() < 0.5 for _ in range(TOPICS)]
            _taken(inbox, queues)
        for number, queue in enumerate(queues):
            assert inbox.first_pending(number) == (queue[0][1] if queue else None)
    inbox.waiting[:] = False
    _taken(inbox, queues)
    assert not any(queues)


def _taken(inbox: Inbox, queues: list[list[tuple[float, int]]]) -> None:
    for row in inbox.order[: inbox.take()].tolist():
        assert not any(w and not q for w, q in zip(inbox.waiting, queues, strict=True))
        (time, _), topic = min((queue[0], number) for number, queue in enumerate(queues) if queue)
        topic = min(n for n, queue in enumerate(queues) if queue and queue[0][0] == time)
        _, offset = queues[topic].pop(0)
        assert (inbox.times[row], inbox.topics[row], inbox.offsets[row]) == (time, topic, offset)
        assert (inbox.kinds[row], inbox.message_ids[row]) == (offset % 7, -offset)
        assert inbox.slots[row] == 10 * topic + offset % 10
        assert inbox.fields[row].tolist() == [offset * 2.0, offset * 3.0]


heads = st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=4)


@many
@given(heads, st.data())
def test_merge_takes_the_earliest_head_and_waits_for_what_is_not_here(
    topics: list[list[int]], data: Any
) -> None:
    """No event at its topic's limit or behind it is taken; offsets are counted within each topic here."""
    waiting = [data.draw(st.booleans()) for _ in topics]
    limits = [data.draw(st.integers(0, len(events)) | st.just(NO_LIMIT)) for events in topics]
    times: list[float] = []
    following: list[int] = []
    offsets: list[int] = []
    first: list[int] = []
    for events in topics:
        first.append(len(times) if events else -1)
        for place, time in enumerate(events):
            times.append(float(time))
            offsets.append(place)
            following.append(len(times) if place + 1 < len(events) else -1)
    expected, left = [], [events[:limit] for events, limit in zip(topics, limits, strict=True)]
    whole = [len(events) for events in topics]
    taken = [0] * len(topics)
    while any(left) and not (
        len(topics) > 1 and any(w and taken[n] == whole[n] for n, w in enumerate(waiting))
    ):
        time, which = min((events[0], number) for number, events in enumerate(left) if events)
        expected.append(first[which] + taken[which])
        taken[which] += 1
        left[which].pop(0)
    order, at = np.zeros(max(1, len(times)), np.int64), np.array(first, np.int64)
    count = merge(
        np.array(times or [0.0]), np.array(following or [0], np.int64), at, np.array(waiting), order,
        np.array(offsets or [0], np.int64), np.array(limits, np.int64),
    )  # fmt: skip
    assert order[:count].tolist() == expected
    rest = [first[n] + taken[n] if taken[n] < whole[n] else -1 for n in range(len(topics))]
    assert at.tolist() == rest
