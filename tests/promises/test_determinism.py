"""A recorded log gives the same bytes however often, in whatever batches and codecs, and in whatever order it comes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from streams.engine.outbox import Outbox
from tests.doubles import Rig, weights
from tests.doubles.rig import shuffled
from tests.reference import streams
from tests.reference.batches import CODECS
from tests.reference.record import Log

SNAPSHOTS = weights(3)
# Which append time is known of a record depends on its batch, so that one more bad record is a matter of the batch.
BAD = tuple(bad for bad in streams.BAD if bad != "ahead of its append")
RECORDS = 4000


def recorded(seed: int) -> Log:
    steps = streams.random_steps(seed, RECORDS, bad=0.0, repeated=0.05, late=0.1, jump=0.004)
    draw = random.Random(seed)
    spoilt = [
        step if draw.random() > 0.03 else streams.Step(**{**vars(step), "bad": draw.choice(BAD)})
        for step in steps
    ]
    return streams.build(spoilt, 2)


LOG = recorded(1)


def outcome(
    size: int, codec: str = "none", *, seed: int | None = None, rig: Rig | None = None
) -> tuple[Any, ...]:
    """Rows and outputs as bytes, and the dead letters, of LOG in batches of `size`."""
    rig = rig or Rig(SNAPSHOTS)
    batches = {place: streams.cut(records, [size], [codec]) for place, records in LOG.items()}
    rig.feed(batches, order=shuffled(seed) if seed is not None else None)
    sent = rig.sent()
    letters = sorted((one.key, one.partition) for one in sent.pop(("dead-letters", -1)))
    clocks = {number: partition.clocks.tobytes() for number, partition in rig.engine.partitions.items()}
    return rig.row_bytes(), sent, letters, clocks


EXPECTED = outcome(100, seed=0)


def test_replayed_twice() -> None:
    assert outcome(100, seed=0) == EXPECTED


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_batch_sizes(size: int) -> None:
    assert outcome(size) == EXPECTED


@pytest.mark.parametrize("codec", CODECS)
def test_codecs(codec: str) -> None:
    assert outcome(64, codec) == EXPECTED


@pytest.mark.parametrize("seed", range(1, 5))
def test_any_interleaving_of_the_topics(seed: int) -> None:
    assert outcome(23, seed=seed) == EXPECTED


def test_an_outbox_that_is_full_in_the_middle_of_an_event_changes_nothing() -> None:
    """Also in the middle of the deadlines that an event lets fire: they still fire before it is folded."""
    rig = Rig(SNAPSHOTS, outbox=Outbox(records=1, data_bytes=1))
    assert outcome(10_000, rig=rig) == EXPECTED
    drains = [step for step in rig.outputs.steps if step != "send dead-letters"]
    assert len(drains) > 100


def test_topics_that_come_one_after_the_other_wait_for_each_other() -> None:
    rig = Rig(SNAPSHOTS)
    batches = {place: streams.cut(records, [500], ["lz4"]) for place, records in LOG.items()}
    rig.announce(batches)
    last = {number: [p for p in batches if p[1] == number][-1] for number in (0, 1)}
    for place, raws in batches.items():
        for raw in raws:
            if place == last[place[1]] and raw is raws[0]:
                known = np.arange(rig.engine.partitions[place[1]].index.known)
                # nothing was folded without it
                assert not rig.engine.partitions[place[1]].rows.copy(known)[:, 0].any()
            rig.receive(*place, raw, fold=True)
    rows, *_ = EXPECTED
    assert rig.row_bytes() == rows
