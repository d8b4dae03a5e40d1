"""Promise: the ledger is read as it stood at one moment, in SQLite and in PostgreSQL, and comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from backup.file.archive import ArchiveReader, ArchiveWriter
from backup.file.summary import FULL, Header, Summary
from backup.ledger_tables import applied, filled, read_tables, rows_of, write_table
from serving.ledger.ledger import Ledger
from serving.ledger.tables import METADATA
from streams.errors import Fatal

TABLES = ("alerts", "applied", "offers", "outcomes")


def decision(number: int) -> dict[str, Any]:
    receipt = {
        "layout": 1,
        "snapshots": [1],
        "scores": [0.25],
        "fields": [1.0],
        "values": [float("nan"), 3.0],
    }
    return {
        "id": f"web.events:0:{number}:p", "customer": f"Käse\0{number}", "policy": "p", "kind": "alert",
        "time": 1_500_000_000_000 + number, "cause": "order", "topic": "web.events", "partition": 0,
        "offset": number, "receipt": receipt,
    }  # fmt: skip


def outcome(number: int) -> dict[str, Any]:
    value = None if number % 2 else 1.5
    return {
        "id": f"o{number}",
        "customer": "c",
        "offer": "f",
        "kind": "accepted",
        "time": number,
        "value": value,
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def ledgers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Ledger, Ledger]]:
    """Two ledgers; that of PostgreSQL twice the same one, emptied between."""
    if request.param == "sqlite":
        pair = [Ledger(f"sqlite:///{tmp_path / name}").open() for name in ("a.db", "b.db")]
    else:
        url = request.getfixturevalue("postgresql_url")
        pair = [Ledger(url).open(), Ledger(url).open()]
    yield pair[0], pair[1]
    for ledger in pair:
        ledger.close()


def content(connection: Connection) -> dict[str, list[Any]]:
    return {name: sorted(map(tuple, connection.execute(METADATA.tables[name].select()))) for name in TABLES}


def test_one_moment_comes_back_whole(ledgers: tuple[Ledger, Ledger], tmp_path: Path) -> None:
    old, new = ledgers
    old.write([("alerts", 0, n, decision(n)) for n in range(1200)])
    old.write([("offer.outcomes", 1, n, outcome(n)) for n in range(3)])
    path = tmp_path / "a.backup"
    with old.reading() as connection:
        before = content(connection)
        assert applied(connection) == {("alerts", 0): 1199, ("offer.outcomes", 1): 2}
        old.write([("alerts", 0, n, decision(n)) for n in range(1200, 1300)])  # meanwhile
        with ArchiveWriter(path, Header("a", FULL, 1), None) as archive:
            counts = read_tables(connection, archive, whole=True)
            archive.finish(Summary(tables=counts))
    assert counts == {"alerts": 1200, "applied": 2, "offers": 0, "outcomes": 3}
    with old.writing() as connection:
        for name in TABLES:
            connection.execute(text(f"DELETE FROM {name}"))
    assert filled(new) == []
    reader = ArchiveReader(path).unlock(None)
    with new.writing() as connection:
        for name in TABLES:
            write_table(
                connection, name, rows_of(reader.chunks(reader.section(f"table:{name}"))), lambda row: True
            )
    with new.reading() as connection:
        assert content(connection) == before
    assert filled(new) == ["alerts", "applied", "outcomes"]
    reader.close()


def test_increments_hold_no_table_that_follows_from_topics(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'a.db'}").open()
    with ledger.reading() as connection, ArchiveWriter(tmp_path / "a", Header("a", FULL, 1), None) as archive:
        assert read_tables(connection, archive, whole=False) == {}
    ledger.close()


def test_a_table_or_column_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'a.db'}").open()
    for name, row, line in (
        ("cases", {"id": "1"}, "the backup holds a table cases, which this version does not have"),
        (
            "applied",
            {"topic": "a", "colour": 1},
            "table applied has a column colour, which this version does not",
        ),
    ):
        with pytest.raises(Fatal, match=line), ledger.writing() as connection:
            write_table(connection, name, [row], lambda row: True)
    ledger.close()
