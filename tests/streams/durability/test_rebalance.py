"""Rows that are kept over a rebalance: only those that nobody else can have folded since."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types.tuples import TP

from streams.durability.row_table import RowTable
from tests.doubles import Rig

NAME = "rows-changelog"


class Writer:
    """Stands for `streams.durability.changelog.FencedChangelog`; says which partitions it holds."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.taken: list[int] = []

    async def take(self, numbers: Collection[int]) -> None:
        self.taken += sorted(set(numbers) - self.held)
        self.held |= set(numbers)

    def drop(self, number: int) -> None:
        self.held.discard(number)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> RowTable:
    async def nothing(*given: Any) -> None:
        return None

    monkeypatch.setattr(faust.Table, "on_rebalance", nothing)
    made = RowTable.__new__(RowTable)
    cycle = SimpleNamespace(changelog_offsets={}, forget=lambda number: None)
    writer: Any = Writer()
    migration: Any = None
    made.bind(Rig().engine, cycle, writer, Rig().work.layout, migration, lambda *_: None)  # type: ignore[arg-type]
    monkeypatch.setattr(RowTable, "changelog_topic_name", NAME)
    return made


def rebalance(table: RowTable, generation: int, actives: set[int], standbys: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    assignor = SimpleNamespace(
        assigned_actives=lambda: {TP(NAME, number) for number in actives},
        assigned_standbys=lambda: {TP(NAME, number) for number in standbys},
    )
    table.app = SimpleNamespace(assignor=assignor, rebalancing_count=generation)
    asyncio.run(table.on_rebalance(set(), set(), set(), generation))
    for number in actives:  # as if it had been restored
        table.engine.partition(number).live = True


def test_rows_are_kept_from_one_generation_to_the_next(table: RowTable) -> None:
    rebalance(table, 4, {0, 1})
    kept = table.engine.partitions[0]
    rebalance(table, 5, {0})
    assert table.engine.partitions == {0: kept}
    assert table.writer.taken == [0, 1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("generation", [6, 1])
def test_rows_are_read_anew_when_the_group_went_on_without_this_worker(
    table: RowTable, generation: int
) -> None:
    """Between two generations that do not follow each other another worker may have held the partition."""
    rebalance(table, 4, {0, 1})
    old = table.engine.partitions[0]
    table.cycle.changelog_offsets[0] = 17
    table.cycle.forget = lambda number: table.cycle.changelog_offsets.pop(number, None)  # type: ignore[method-assign,assignment]
    rebalance(table, generation, {0})
    assert table.engine.partitions[0] is not old
    assert table.persisted_offset(TP(NAME, 0)) == -1  # from its beginning
    assert table.writer.taken == [0, 1, 0]  # type: ignore[attr-defined]


def test_a_partition_that_becomes_a_standby_is_not_written_any_more(table: RowTable) -> None:
    rebalance(table, 4, {0})
    kept = table.engine.partitions[0]
    rebalance(table, 5, set(), {0})
    assert table.engine.partitions[0] is kept
    assert not kept.live
    assert table.writer.held == set()  # type: ignore[attr-defined]
