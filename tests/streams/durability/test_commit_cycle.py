"""The commit cycle: nothing lost, nothing twice, whatever happens between two of its steps."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

import schemas
from streams.batches.record_batch import parse_batch
from streams.durability.commit_cycle import CommitCycle
from streams.durability.control_row import CONTROL_KEY, LAYOUT_KEY, read_control
from streams.durability.restorer import Restorer
from streams.engine.partition import Partition
from streams.errors import Fatal
from tests.doubles import CapturedOutputs, Rig, Sent, weights
from tests.doubles.outputs import CapturedChangelog
from tests.reference import batches, streams
from tests.reference.record import Log, Record
from tests.reference.scoring import Snapshot

CHANGELOG = "customers-changelog"
OUTPUTS = ("alerts", "offers", "training.examples")
Offsets = dict[tuple[str, int], int]


class Crash(Exception):
    """The process ends here."""


class Broker:
    """What outlives a worker: source logs, the changelog, outputs, committed offsets."""

    def __init__(self, log: Log, sizes: Sequence[int] = (5, 9, 3)) -> None:
        self.log = {place: streams.cut(records, sizes, ["lz4", "none"]) for place, records in log.items()}
        self.changelog: dict[int, list[Sent]] = {}
        self.outputs: list[Sent] = []
        self.committed: Offsets = {}

    def keep(self, outputs: CapturedOutputs, lost: Callable[[], bool]) -> None:
        """A worker is gone: what was acknowledged stays; of the rest what `lost` does not say."""
        for sent in [*outputs.landed, *(one for one in outputs.in_flight if not lost())]:
            if sent.topic == CHANGELOG:
                self.changelog.setdefault(sent.partition, []).append(sent)
            elif sent.topic in OUTPUTS:
                self.outputs.append(sent)


class Worker:
    """A rig that starts where the broker says, and its commit cycle. `until_ms`: nothing is appended yet after it."""

    def __init__(
        self, broker: Broker, *published: Mapping[str, Snapshot], until_ms: float = math.inf
    ) -> None:
        self.broker = broker
        self.rig = Rig()
        for snapshots in published:
            self.rig.offer(snapshots)
        self.work, self.engine = self.rig.work, self.rig.engine
        self.cycle = CommitCycle(
            self.engine, self.work.layout, self.work, CapturedChangelog(CHANGELOG, self.rig.outputs)
        )
        self.cycle.lead_s = 0.0
        self.meanwhile: Callable[[], object] | None = None  # what other tasks do while a cycle waits
        self.left: dict[tuple[str, int], list[bytes]] = {place: [] for place in broker.log}
        self.ends = {place: self.committed(place) for place in broker.log}
        self.appear(until_ms)
        for number in sorted({number for _, number in broker.log}):
            self.restore(number, [self.ends[topic, number] for topic in self.rig.topics])

    def appear(self, until_ms: float) -> None:
        """What was appended by `until_ms` can be fetched."""
        for place, raws in self.broker.log.items():
            for batch, raw in ((parse_batch(raw, first=0), raw) for raw in raws):
                if batch.next_offset > self.ends[place] and batch.append_time_ms <= until_ms:
                    self.ends[place] = batch.next_offset
                    self.left[place].append(raw)
            topic, number = place
            ends = self.engine.partition(number).ends
            ends[self.rig.topics.index(topic)] = self.ends[place]

    def committed(self, place: tuple[str, int]) -> int:
        return self.broker.committed.get(place, 0)

    def restore(self, number: int, ends: list[int]) -> None:
        partition = self.engine.partition(number)
        layout = self.work.layout
        restorer = Restorer(layout.layout_id, self.work.migration)
        sent = self.broker.changelog.get(number, [])
        for at in range(0, len(sent), 17):
            part = [
                Record(CHANGELOG, number, at + i, s.key, s.value, 0) for i, s in enumerate(sent[at : at + 17])
            ]
            restorer.apply(partition, parse_batch(batches.batch(part), first=0))
        partition.ends[:] = ends
        self.cycle.resume(partition, restorer.control)
        for which, topic in enumerate(self.rig.topics):
            partition.positions[which] = self.committed((topic, number))
        partition.activate(taken_over=bool(restorer.control))
        control = restorer.control
        self.work.adopt(partition, control.get("next", {}) if control else self.work.offered(partition))

    def step(self, draw: random.Random) -> bool:
        """Receive some batch that is left; false when there is none."""
        places = [place for place, raws in self.left.items() if raws]
        if not places:
            return False
        place = draw.choice(places)
        self.rig.receive(*place, self.left[place].pop(0), fold=True)
        return True

    def commit(self) -> bool:
        async def commit(offsets: Mapping[tuple[str, int], int]) -> bool:
            self.rig.outputs.steps.append("commit")
            self.broker.committed.update(offsets)
            return True

        async def going_on() -> None:
            while self.meanwhile is not None:
                self.meanwhile()
                await asyncio.sleep(0.001)

        async def run() -> bool:
            others = asyncio.create_task(going_on())
            try:
                return await self.cycle.run(commit)
            finally:
                others.cancel()

        return asyncio.run(run())


LOG = streams.random_log(41, 700, partitions=2, bad=0.01, jump=0.006)
SNAPSHOTS = weights(4)


def undisturbed() -> Worker:
    broker, draw = Broker(LOG), random.Random(0)
    worker = Worker(broker, SNAPSHOTS)
    while worker.step(draw):
        pass
    worker.commit()
    broker.keep(worker.rig.outputs, lambda: False)
    return worker


EXPECTED = undisturbed()
EXPECTED_ROWS = EXPECTED.rig.row_bytes()


def by_id(sent: list[Sent]) -> dict[tuple[str, str], set[bytes]]:
    found: dict[tuple[str, str], set[bytes]] = {}
    for one in sent:
        found.setdefault((one.topic, schemas.decode(one.value)[1]["id"]), set()).add(one.value)
    return found


EXPECTED_OUTPUTS = by_id(EXPECTED.broker.outputs)


def test_the_order_of_the_steps() -> None:
    worker = Worker(Broker(LOG), SNAPSHOTS)
    draw = random.Random(1)
    for _ in range(8):
        worker.step(draw)
    assert steps_of_a_commit(worker) == ["settled", f"send {CHANGELOG}", "settled", "commit"]
    keys = [sent.key for sent in worker.rig.outputs.of(CHANGELOG) if sent.partition == 0]
    assert keys[0].startswith(LAYOUT_KEY)
    assert keys[-1] == CONTROL_KEY
    assert not any(key.startswith(b"\0") for key in keys[1:-1])
    worker.rig.offer(weights(9, version=77))
    folded = worker.engine.counters.events
    while worker.engine.counters.events == folded:  # a batch may wait for another topic's
        assert worker.step(draw)
    announced = [f"send {CHANGELOG}", "settled", "adopt"]
    cycle = ["settled", f"send {CHANGELOG}", "settled", "commit"]
    assert steps_of_a_commit(worker) == [*announced, *cycle]


@pytest.mark.parametrize("point", ["outputs", "rows", "control"])
def test_a_cycle_commits_nothing_of_a_partition_that_went_meanwhile(point: str) -> None:
    """Its writer went with it, and what that one had written was rolled back; it may have come back by the end."""
    broker, draw = Broker(LOG), random.Random(1)
    worker = Worker(broker, SNAPSHOTS)
    for _ in range(8):
        worker.step(draw)
    partition = worker.engine.partition(0)

    def went() -> None:
        worker.cycle.forget(0)
        for _ in range(8):  # rows that the cycle has taken and not written change
            worker.step(draw)

    worker.cycle.failpoints[point] = went
    assert worker.commit()
    assert {number for _, number in broker.committed} == {1}
    assert not partition.rows._kept.any()  # nor would a later cycle write what was kept for this one
    if point == "outputs":
        assert {sent.partition for sent in worker.rig.outputs.of(CHANGELOG)} == {1}


def steps_of_a_commit(worker: Worker) -> list[str]:
    """What was done, in order; the same thing several times in a row counts once."""
    steps, adopt = worker.rig.outputs.steps, worker.engine.on_cutover

    def noted(partition: Partition, offered: dict[str, Any]) -> None:
        steps.append("adopt")
        adopt(partition, offered)

    worker.engine.on_cutover = noted
    steps.clear()
    worker.commit()
    worker.engine.on_cutover = adopt
    return [step for at, step in enumerate(steps) if not at or step != steps[at - 1]]


def test_a_turn_behind_the_end_of_a_topic_that_was_made_anew_is_one_at_its_end() -> None:
    broker = Broker(LOG)
    worker = Worker(broker, SNAPSHOTS)
    worker.rig.offer(weights(9, version=77))
    partition = worker.engine.partition(0)
    newest = worker.work.offered(partition)
    turn = {"at": dict.fromkeys(worker.rig.topics, 1 << 40), "next": newest}
    control = {"next": worker.work.in_force(partition), "clocks": None, "turn": turn}
    worker.cycle.resume(partition, control)
    draw = random.Random(1)
    while worker.step(draw):
        pass
    assert partition.cutover is None
    assert worker.work.in_force(partition) == newest


def test_a_turn_lies_ahead_and_no_event_waits_for_the_changelog() -> None:
    worker, draw = Worker(Broker(PUNCTUAL, [1]), SNAPSHOTS), random.Random(1)
    partitions = [*worker.engine.partitions.values()]
    newest = weights(9, version=77)
    worker.cycle.lead_s = 0.2
    worker.commit()
    for _ in range(60):
        worker.step(draw)
    worker.rig.offer(newest)
    folded_while_written = []

    def go_on() -> None:
        before = worker.engine.counters.events
        for _ in range(4):
            worker.step(draw)
        folded_while_written.append(worker.engine.counters.events - before)
        worker.rig.outputs.during_settling = None
        assert not any(newest["churn"].version in p.state.weights.version for p in partitions)

    worker.rig.outputs.during_settling = go_on
    worker.meanwhile = lambda: worker.step(draw)
    worker.commit()
    assert folded_while_written[0] > 0
    for partition in partitions:
        assert partition.cutover is None
        assert newest["churn"].version in partition.state.weights.version


def test_what_is_fetched_again_after_a_rebalance_is_scored_as_it_was() -> None:
    """A partition that stays begins again where it was committed, with rows that are ahead of that."""
    worker, draw = Worker(Broker(PUNCTUAL, [1]), SNAPSHOTS), random.Random(1)
    for _ in range(40):
        worker.step(draw)
    worker.commit()
    for _ in range(40):
        worker.step(draw)
    partitions = worker.engine.partitions
    ahead = {number: partition.folded for number, partition in partitions.items()}
    for number, partition in partitions.items():
        partition.reset_inbox()
        for which, topic in enumerate(worker.rig.topics):
            at = partition.positions[which] = worker.committed((topic, number))
            raws = worker.broker.log[topic, number]
            worker.left[topic, number] = [raw for raw in raws if parse_batch(raw, first=0).next_offset > at]
        partition.ends[:] = [worker.ends[topic, number] for topic in worker.rig.topics]
    newest = weights(9, version=77)
    worker.rig.offer(newest)
    worker.commit()
    assert not any(newest["churn"].version in p.state.weights.version for p in partitions.values())
    while worker.step(draw):
        for number, partition in partitions.items():
            assert partition.caught_up == bool((partition.folded >= ahead[number]).all())
    worker.commit()
    assert all(newest["churn"].version in p.state.weights.version for p in partitions.values())


def test_a_turn_is_named_again_where_events_are_that_come_more_slowly() -> None:
    worker, draw = Worker(Broker(PUNCTUAL, [1]), SNAPSHOTS), random.Random(1)
    worker.commit()
    for _ in range(60):
        worker.step(draw)
    worker.rig.offer(weights(9, version=77))
    worker.cycle.lead_s = 0.02
    # they came that fast, however slow this machine is
    for number, (_, folded) in worker.cycle._began.items():
        worker.cycle._began[number] = time.monotonic() - 0.02, folded
    steps = [step for step in steps_of_a_commit(worker) if step in (f"send {CHANGELOG}", "settled", "adopt")]
    assert steps[:5] == [f"send {CHANGELOG}", "settled", f"send {CHANGELOG}", "settled", "adopt"]


def test_a_delivery_that_failed_commits_nothing() -> None:
    worker = Worker(Broker(LOG), SNAPSHOTS)
    worker.step(random.Random(1))
    worker.rig.outputs.failure = "alerts[0]: no"
    with pytest.raises(Fatal, match="nothing was committed past it"):
        worker.commit()
    assert worker.broker.committed == {}
    assert worker.rig.outputs.of(CHANGELOG) == []


def test_a_commit_that_is_refused_is_asked_for_again() -> None:
    worker = Worker(Broker(LOG), SNAPSHOTS)
    worker.step(random.Random(1))

    async def refuse(offsets: Mapping[tuple[str, int], int]) -> bool:
        return False

    assert asyncio.run(worker.cycle.run(refuse)) is False
    assert worker.commit() is True
    assert worker.broker.committed


def test_nothing_new_commits_nothing() -> None:
    worker = Worker(Broker(LOG), SNAPSHOTS)
    worker.step(random.Random(1))
    worker.commit()
    before = dict(worker.broker.committed), len(worker.rig.outputs.sent)
    assert worker.commit() is False
    assert (worker.broker.committed, len(worker.rig.outputs.sent)) == before


def test_only_changed_rows_are_written_and_a_change_during_the_cycle_belongs_to_the_next() -> None:
    worker = Worker(Broker(LOG), SNAPSHOTS)
    draw = random.Random(2)
    for _ in range(30):
        worker.step(draw)
    before = worker.rig.row_bytes()

    def go_on() -> None:
        for _ in range(9):
            worker.step(draw)

    worker.rig.outputs.during_settling = go_on
    worker.commit()
    worker.rig.outputs.during_settling = None
    assert worker.rig.row_bytes() != before
    first = {sent.key: sent.value for sent in worker.rig.outputs.of(CHANGELOG)}
    control = read_control(first[CONTROL_KEY])
    assert control["layout"] == worker.work.layout.layout_id
    sent = len(worker.rig.outputs.of(CHANGELOG))
    worker.commit()
    assert len(worker.rig.outputs.of(CHANGELOG)) > sent


@pytest.mark.parametrize("step", [*CommitCycle.STEPS, "none"])
@pytest.mark.parametrize("seed", range(3))
def test_a_crash_between_any_two_steps(step: str, seed: int) -> None:
    """Again and again: rows end as undisturbed ones; no output is missing, none has two contents."""
    broker, draw = Broker(LOG), random.Random(seed)

    def crash() -> None:
        raise Crash

    for life in range(6):
        worker = Worker(broker, SNAPSHOTS)
        alive = True
        for _ in range(draw.randint(1, 30)):
            alive = worker.step(draw)
            if draw.random() < 0.2:
                worker.commit()
        if step != "none":
            worker.cycle.failpoints[step] = crash
            # other tasks go on while the cycle waits
            worker.rig.outputs.during_settling = lambda w=worker: w.step(draw) and None
            with pytest.raises(Crash):
                worker.commit()
        broker.keep(worker.rig.outputs, lambda: draw.random() < 0.5)
        if not alive and life > 2:
            break
    final = Worker(broker, SNAPSHOTS)
    while final.step(draw):
        pass
    final.commit()
    broker.keep(final.rig.outputs, lambda: False)
    assert final.rig.row_bytes() == EXPECTED_ROWS
    found = by_id(broker.outputs)
    assert found.keys() == EXPECTED_OUTPUTS.keys()
    assert found == EXPECTED_OUTPUTS


def punctual() -> Log:
    """One event a millisecond at most and none late: merged the same way however much of it is there."""
    steps = streams.random_steps(43, 1400, bad=0.0, late=0.0, jump=0.01)
    return streams.build([replace(step, advance_ms=max(1, step.advance_ms)) for step in steps], 2)


PUNCTUAL = punctual()
TIMES = sorted(record.timestamp for records in PUNCTUAL.values() for record in records)


@pytest.mark.parametrize("step", [*CommitCycle.STEPS, "none"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lead_s", [0.0, 0.01])
def test_new_snapshots_come_into_force_at_the_same_event_in_a_replay(
    step: str, seed: int, lead_s: float
) -> None:
    """Whatever arrives while the cycle waits, an output has one content: the same snapshot scores it again."""
    broker, draw = Broker(PUNCTUAL, [1]), random.Random(seed)
    published = [weights(50, version=1)]
    scored = set()
    here = 0

    def crash() -> None:
        raise Crash

    def go_on(worker: Worker, most: int) -> None:
        """More is appended, and some of what is there arrives."""
        nonlocal here
        here = min(len(TIMES) - 1, here + draw.randint(0, most))
        worker.appear(TIMES[here])
        for _ in range(draw.randint(0, 4 * most)):
            worker.step(draw)

    for life in range(12):
        worker = Worker(broker, *published, until_ms=TIMES[here])
        for turn in range(4):
            go_on(worker, 30)
            if draw.random() < 0.7:
                newer = weights(51 + life, version=100 * life + 10 * (turn + 1))
                worker.rig.offer(newer)
                published.append(newer)
            worker.rig.outputs.during_settling = lambda w=worker: go_on(w, 10)
            worker.cycle.lead_s = lead_s
            worker.meanwhile = lambda w=worker: go_on(w, 1)
            if turn == 3 and step != "none":
                worker.cycle.failpoints[step] = crash
                with pytest.raises(Crash):
                    worker.commit()
            else:
                worker.commit()
                scored |= {tuple(p.state.weights.version.tolist()) for p in worker.engine.partitions.values()}
        broker.keep(worker.rig.outputs, lambda: draw.random() < 0.3)
    final = Worker(broker, *published)
    while final.step(draw):
        pass
    final.commit()
    broker.keep(final.rig.outputs, lambda: False)
    assert len(scored) > 5
    twice = {place: len(values) for place, values in by_id(broker.outputs).items() if len(values) > 1}
    assert not twice


def test_who_was_unseen_for_long_is_removed_and_events_find_the_same_either_way() -> None:
    """Rows are swept in the commit cycle; killed at any step, what comes is as if they had stayed."""
    log = streams.random_log(5, 900, partitions=1, customers=80, bad=0.0, late=0.0, jump=0.1)
    whole = Rig(SNAPSHOTS)
    whole.work.plan = whole.work.plan._replace(expire_after_ms=61.0 * streams.DAY)
    whole.feed(streams.random_batches(log, 5))
    broker, draw, removed = Broker(log), random.Random(3), 0

    def crash() -> None:
        raise Crash

    for life in range(400):
        worker = Worker(broker, SNAPSHOTS)
        worker.work.plan = worker.work.plan._replace(expire_after_ms=61.0 * streams.DAY)
        worker.work.expire_after_ms = 61.0 * streams.DAY
        for partition in worker.engine.partitions.values():
            partition.take_seen(1 << 20)  # the views are written
        for _ in range(draw.randint(5, 20)):
            going = worker.step(draw)
        for partition in worker.engine.partitions.values():
            partition.take_seen(10_000)
        worker.commit()
        if life % 3:
            worker.cycle.failpoints[draw.choice(CommitCycle.STEPS)] = crash
            worker.step(draw)
            with pytest.raises(Crash):
                worker.commit()
        broker.keep(worker.rig.outputs, lambda: draw.random() < 0.5)
        removed += sum(len(partition.gone) for partition in worker.engine.partitions.values())
        if not going:
            break
    assert not going
    assert removed > 20
    tombstones = {sent.key for sent in broker.changelog[0] if sent.value is None}
    assert tombstones
    applied = slice(
        8, 8 * (1 + len(worker.rig.topics))
    )  # what a row that was removed had applied is not known
    final = Worker(broker, SNAPSHOTS)
    left = {place: row[:8] + row[applied.stop :] for place, row in final.rig.row_bytes().items()}
    wanted = {place: row[:8] + row[applied.stop :] for place, row in whole.row_bytes().items()}
    assert left.keys() < wanted.keys()
    assert all(wanted[place] == row for place, row in left.items())
    assert by_id(broker.outputs) == by_id([one for one in whole.outputs.sent if one.topic in OUTPUTS])
