"""What comes back from the changelog and is damaged ends the worker: Faust's recovery would log it and go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streams.batches.record_batch import RawBatch, parse_batch
from streams.durability.restorer import Restorer
from streams.durability.row_table import RowTable
from tests.doubles import Rig
from tests.reference import batches
from tests.reference.record import Record


def table(rig: Rig) -> tuple[Any, list[str]]:
    """A row table over the rig's engine; the lines with which it would end the process."""
    made: Any = object.__new__(RowTable)
    lines: list[str] = []
    made.engine, made.end = rig.engine, lines.append
    made._restorers = {}
    made._make = lambda: Restorer(rig.work.layout.layout_id, rig.work.migration)
    return made, lines


def apply(made: Any, batch: RawBatch) -> None:
    message = SimpleNamespace(topic="changelog", partition=2, offset=batch.offset, value=batch)
    made.apply_changelog_batch([SimpleNamespace(message=message)])


ROW = [Record("changelog", 2, 7, b"customer", b"x" * 20, 0)]


def test_a_batch_that_does_not_decompress() -> None:
    """It has no records to restore, which is not the same as being empty."""
    made, lines = table(Rig())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "compress", lambda *_: b"nonsense")
        apply(made, parse_batch(batches.batch(ROW, "zstd"), first=0))
    (line,) = lines
    assert line.startswith("changelog partition 2 at offset 7 is damaged (the batch does not decompress: ")
    assert line.endswith("; restore it from a backup, or delete the topic to start anew")


def test_a_row_of_a_layout_that_nobody_described() -> None:
    made, lines = table(Rig())
    apply(made, parse_batch(batches.batch(ROW), first=0))
    assert len(lines) == 1
    assert "holds a row of layout" in lines[0]


def test_an_error_that_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    made, lines = table(Rig())
    monkeypatch.setattr(Restorer, "apply", lambda *_: 1 / 0)
    apply(made, parse_batch(batches.batch(ROW), first=0))
    assert lines == ["changelog[2]@7: ZeroDivisionError: division by zero"]


def test_a_control_batch_is_none_of_these() -> None:
    made, lines = table(Rig())
    apply(made, parse_batch(batches.control_batch(3, 1, commit=True), first=0))
    assert lines == []
