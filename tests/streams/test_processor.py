"""What the watchdog of a worker is shown at each step, and whom the broker's own word gives away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.durability.commit_cycle import CommitCycle
from streams.kafka.broker_probe import BrokerProbe
from streams.kafka.embedded_broker import EmbeddedBroker
from streams.processor import ProcessorWatches
from streams.supervision.watchdog import Watchdog
from tests.doubles import CapturedOutputs, Rig
from tests.doubles.outputs import CapturedChangelog

STALL_S = 60.0
Place = tuple[str, int]


class Broker:
    """Where partitions end, as a probe tells it."""

    def __init__(self) -> None:
        self.at: dict[Place, int] = {}

    def ends(self, places: Any) -> dict[Place, int]:
        return {place: self.at[place] for place in places if place in self.at}


@pytest.fixture
def processor() -> Any:
    """A processor's parts over a rig, its rows restored."""
    rig = Rig()
    rig.live(0)
    cycle = CommitCycle(rig.engine, rig.work.layout, rig.work, CapturedChangelog("changelog", rig.outputs))
    restorer = SimpleNamespace(rows=0, offset=-1)
    return SimpleNamespace(
        engine=rig.engine, outputs=rig.outputs, log=CapturedOutputs(), cycle=cycle,
        table=SimpleNamespace(recovered=True, assignment=1, _restorers={0: restorer}),
        app=SimpleNamespace(rebalancing_count=1),
    )  # fmt: skip


@pytest.fixture
def broker() -> Broker:
    return Broker()


def stalled(processor: Any, broker: Any, seconds: float = 3 * STALL_S) -> str | None:
    """What a watchdog says when nothing moves for so long."""
    now = [0.0]
    dog = Watchdog(ProcessorWatches(processor, broker).watches(), stall_s=STALL_S, clock=lambda: now[0])
    wrong = None
    while now[0] < seconds and wrong is None:
        now[0] += 2.0
        wrong = dog.check()
    return wrong


def test_with_nothing_to_do_nothing_stands_still(processor: Any, broker: Broker) -> None:
    broker.at = {("web.events", 0): 0, ("sales.events", 0): 0}
    assert stalled(processor, broker) is None


def test_a_fetch_that_stopped_is_told_by_the_broker_alone(processor: Any, broker: Broker) -> None:
    """To the worker itself its lag is nothing: the ends that it knows came with its fetches."""
    broker.at = {("web.events", 0): 1, ("sales.events", 0): 0}
    assert sum(processor.engine.lag().values()) == 0
    assert str(stalled(processor, broker)).startswith("step fetch of web.events[0] has stood still for 6")


def test_a_topic_of_which_enough_lies_here_is_not_fetched_on_purpose(processor: Any, broker: Broker) -> None:
    broker.at = {("web.events", 0): 10**9}
    processor.engine.full = lambda topic, number: topic == "web.events"
    assert stalled(processor, broker) is None


@pytest.mark.parametrize(
    "step", ["rows taken", "outputs acknowledged", "rows written", "rows acknowledged", "offsets committed"]
)
def test_a_cycle_is_named_by_what_it_waits_for(processor: Any, broker: Broker, step: str) -> None:
    processor.cycle.step = step
    assert str(stalled(processor, broker)).startswith(f"step {step} has stood still for 6")


def test_a_cycle_that_never_comes_and_events_that_are_not_folded(processor: Any, broker: Broker) -> None:
    partition = processor.engine.partitions[0]
    partition.positions[:], partition.ends[:] = 0, 5
    assert str(stalled(processor, broker)).startswith("step commit cycle has stood still for 6")
    processor.cycle = _Going(iter(range(10**6)))
    assert str(stalled(processor, broker)).startswith("step fold has stood still for 9")


class _Going:
    """A commit cycle that goes on."""

    step = ""

    def __init__(self, count: Any) -> None:
        self._count = count

    @property
    def cycles(self) -> int:
        return int(next(self._count))


def test_restoring_and_assignment_may_take_longer_but_not_for_ever(processor: Any, broker: Broker) -> None:
    processor.table.recovered = False
    assert stalled(processor, broker, 1.9 * STALL_S) is None
    assert str(stalled(processor, broker)).startswith("step restoring has stood still for 12")
    processor.app.rebalancing_count = 2
    assert str(stalled(processor, broker)).startswith("step assignment has stood still for 12")


def test_a_probe_knows_the_ends_and_who_is_away() -> None:
    with EmbeddedBroker() as embedded:
        embedded.make_topics(["a"])
        producer = Producer({"bootstrap.servers": embedded.bootstrap, "log_level": 0})
        for _ in range(3):
            producer.produce("a", b"x", partition=1)
        assert producer.flush(10) == 0
        probe = BrokerProbe(embedded.bootstrap, every_s=0.0)
        assert probe.ends([("a", 0), ("a", 1)]) == {("a", 0): 0, ("a", 1): 3}
        assert probe.away == ""
        producer.produce("a", b"x", partition=1)
        assert producer.flush(10) == 0
        slow = BrokerProbe(embedded.bootstrap, every_s=3600.0)
        assert slow.ends([("a", 1)]) == {("a", 1): 4} == probe.ends([("a", 1)])
        producer.produce("a", b"x", partition=1)
        assert producer.flush(10) == 0
        assert slow.ends([("a", 1)]) == {("a", 1): 4}  # it is not asked all the time
    nobody = BrokerProbe("127.0.0.1:1", answer_s=0.2)
    assert nobody.ends([("a", 0)]) == {}
    assert nobody.away.startswith("no Kafka broker answers at 127.0.0.1:1: ")
    assert nobody.ask() == nobody.away
