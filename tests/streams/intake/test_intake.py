"""What an intake does when the group is assigned anew while the broker has not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from faust.types.tuples import TP

from config.settings import load_settings
from streams.intake.intake import Batches, Bounds, Intake
from streams.transport.app import App

TOPIC = "training.examples"
PLACE = TP(TOPIC, 0)


class Assigned:
    """In place of Faust's consumer: one partition, and what was committed of it."""

    def __init__(self) -> None:
        self.committed: list[Mapping[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {PLACE}

    async def bounds(self, tps: set[TP]) -> Bounds:
        return dict.fromkeys(tps, (10, 100))

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> bool:
        self.committed.append(offsets)
        return True

    async def seek_wait(self, offsets: Mapping[TP, int]) -> None:
        pass


class Slow:
    """A role that begins when it is let, each time elsewhere, and learns of a new assignment as it commits."""

    def __init__(self) -> None:
        self.gates = [asyncio.Event(), asyncio.Event()]
        self.begun = 0
        self.intake: Intake

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        self.begun += 1
        number = self.begun
        await self.gates[number - 1].wait()
        return {PLACE: 10 * number}

    async def take(self, batches: Batches) -> None:
        raise AssertionError("nothing is fetched")

    async def commit(self) -> dict[TP, int]:
        self.intake._on_revoked(self.intake.app, {PLACE})
        return {PLACE: 50}


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Assigned:
    found = Assigned()
    monkeypatch.setattr(App, "consumer", property(lambda app: found))
    return found


def made(role: Slow, folder: Path) -> Intake:
    intake = Intake("learner", load_settings().access, [TOPIC], role, partitions=1, folder=folder)
    role.intake = intake
    return intake


async def begun(folder: Path) -> Intake:
    """One whose assignment has begun; the role is let."""
    role = Slow()
    intake = made(role, folder)
    for gate in role.gates:
        gate.set()
    await intake._begin()
    return intake


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_assignment_begins_after_the_other_and_the_last_one_counts(
    consumer: Assigned, tmp_path: Path
) -> None:
    """Begun at once, what one has read of the broker would be put under the positions of the other."""

    async def twice() -> None:
        role = Slow()
        intake = made(role, tmp_path)
        first = asyncio.ensure_future(intake._begin())
        await turns()
        intake._on_revoked(intake.app, {PLACE})
        second = asyncio.ensure_future(intake._begin())
        await turns()
        assert role.begun == 1
        role.gates[0].set()
        await first
        assert not intake.assigned
        assert intake.positions == {}
        role.gates[1].set()
        await second
        assert intake.assigned
        assert intake.positions == {PLACE: 20}

    asyncio.run(twice())
    assert consumer.committed == [{PLACE: 20}]


def test_what_is_in_hand_when_an_assignment_begins_belongs_to_nobody(
    consumer: Assigned, tmp_path: Path
) -> None:
    """Also where nobody said that the one before it was over."""

    async def again() -> None:
        intake = await begun(tmp_path)
        epoch = intake.epoch
        await intake._begin()
        assert not intake.taken(PLACE, 99, epoch)
        assert intake.positions == {PLACE: 20}

    asyncio.run(again())


def test_offsets_of_an_assignment_that_ended_meanwhile_are_not_committed(
    consumer: Assigned, tmp_path: Path
) -> None:
    """What was written for them may have been rolled back."""

    async def commit() -> Any:
        intake = await begun(tmp_path)
        return await intake._commit_once(consumer)  # type: ignore[arg-type]

    assert asyncio.run(commit()) is False
    assert consumer.committed == []
