"""100,000 fuzzed records through the shipped pass: each is a dead letter or an event; its neighbours never notice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from streams.avro.decoder import REASONS
from streams.engine.engine import LETTER_BYTES
from tests.doubles import Rig, Sent, weights
from tests.doubles.rig import FILES, shuffled
from tests.reference import streams
from tests.reference.engine import Reference
from tests.streams.fuzzed_log import CALM, FuzzedLog, Place, fuzzed_log

COUNT = 100_000
SEED = 20_000
SNAPSHOTS = weights(4)
DECODER = Reference(*FILES, streams.SCHEMAS).decoder
# what the reference calls it, and what the letter may say; a NaN is met before what may be wrong behind it
MEANT = {
    "key": {1, 8},
    "value": {2},
    "framing": {3},
    "schema": {4},
    "avro": {5, 6},
    "bounds": {6},
    "time": {7, 6},
}


def fed(log: FuzzedLog, places: set[Place] | None = None) -> Rig:
    rig = Rig(SNAPSHOTS)
    rig.feed(log.batches() if places is None else log.batches(places.__contains__), order=shuffled(3))
    return rig


@pytest.fixture(scope="module")
def log() -> FuzzedLog:
    return fuzzed_log(SEED, COUNT, DECODER)


@pytest.fixture(scope="module")
def rig(log: FuzzedLog) -> Rig:
    return fed(log)


def test_the_log_holds_what_it_says(log: FuzzedLog) -> None:
    assert len(log.spoilt) == COUNT == len(log.dead) + len(log.events)
    assert min(len(log.dead), len(log.events)) > COUNT // 10
    assert Counter(log.dead.values()).keys() == MEANT.keys()
    assert min(Counter(log.dead.values()).values()) > COUNT // 200
    assert {event.key for event in log.events.values()}.isdisjoint({record.key for record in log.good})
    together = sum(
        1
        for cuts in log.cuts.values()
        for cut in cuts
        if len({record[:3] in log.spoilt for record in cut.records}) == 2
    )
    assert together > sum(map(len, log.cuts.values())) // 2


def test_each_is_a_dead_letter_or_an_event(log: FuzzedLog, rig: Rig) -> None:
    letters = rig.dead_letters()
    found = {(letter["topic"], letter["partition"], letter["offset"]): letter for letter in letters}
    assert len(found) == len(letters)
    assert found.keys() == log.dead.keys()
    assert rig.engine.counters.events == len(log.good) + len(log.events)
    for place, meant in log.dead.items():
        letter, record = found[place], log.spoilt[place]
        assert REASONS.index(letter["reason"]) in MEANT[meant], (letter, meant)
        assert (letter["key"], letter["value"]) == tuple(
            part and part[:LETTER_BYTES] for part in (record.key, record.value)
        )


def test_what_is_a_dead_letter_leaves_no_trace(log: FuzzedLog, rig: Rig) -> None:
    without = fed(log, {record[:3] for record in log.good} | log.events.keys())
    assert without.row_bytes() == rig.row_bytes()
    assert sent(without) == sent(rig)
    assert [clocks(rig, n).tolist() for n in (0, 1)] == [clocks(without, n).tolist() for n in (0, 1)]


def test_good_neighbours_are_as_they_are_without_any(log: FuzzedLog, rig: Rig) -> None:
    """Their rows and outputs byte for byte, and the time of their partition."""
    alone = fed(log, {record[:3] for record in log.good if record.partition == CALM})
    rows = alone.row_bytes()
    assert len(rows) > 50
    ours = rig.row_bytes()
    assert {place: ours[place] for place in rows} == rows
    keys = {key for _, key in rows}
    for topic, expected in sent(alone).items():
        assert len(expected) > 50
        assert [one for one in sent(rig)[topic] if one.partition == CALM and one.key in keys] == expected
    assert np.array_equal(clocks(rig, CALM), clocks(alone, CALM))


def test_no_time_runs_further_ahead_than_a_day_after_the_append(log: FuzzedLog, rig: Rig) -> None:
    for number in (0, 1):
        appended = max(cut.append_time for (_, n), cuts in log.cuts.items() if n == number for cut in cuts)
        times = [event.time for (_, n, _), event in log.events.items() if n == number]
        assert clocks(rig, number)[1] <= appended + streams.DAY
        assert clocks(rig, number)[1] >= max(times)
        assert min(times) < appended - 365 * streams.DAY  # far back is no poison: it is late


def clocks(rig: Rig, number: int) -> np.ndarray:
    """The partition's watermark and its highest time."""
    found: np.ndarray = rig.engine.partitions[number].clocks
    return found


def sent(rig: Rig) -> dict[str, list[Sent]]:
    """Alerts, offers and examples, in order."""
    return {topic: rig.outputs.of(topic) for topic in rig.work.outputs}
