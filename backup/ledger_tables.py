"""The ledger's tables in a backup. Those that follow from topics are in full backups, the others in every one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, func, select

from backup.file import TABLE, ArchiveWriter, piece, pieces
from serving.ledger import APPLIED, BY_KIND, METADATA, Ledger
from streams.errors import Fatal

ROWS = 500  # in a piece, and in an insert
FROM_TOPICS = (*(table.name for table in BY_KIND.values()), APPLIED.name)


def read_tables(connection: Connection, archive: ArchiveWriter, whole: bool) -> dict[str, int]:
    """Write every table into a section of its own; how many rows each has. `whole`: those of topics, too."""
    counts = {}
    for table in METADATA.sorted_tables:
        if not whole and table.name in FROM_TOPICS:
            continue
        archive.begin(TABLE + table.name)
        names = [str(column.name) for column in table.columns]
        count = 0
        result = connection.execution_options(yield_per=ROWS).execute(select(table))
        for rows in result.partitions(ROWS):
            archive.add(piece([names, [tuple(row) for row in rows]]), len(rows))
            count += len(rows)
        counts[table.name] = count
    return counts


def applied(connection: Connection) -> dict[tuple[str, int], int]:
    """The ledger's positions: the offset of each partition that it holds last."""
    return {(row.topic, row.partition): row.offset for row in connection.execute(select(APPLIED))}


def rows_of(chunks: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    """The rows of a table's section."""
    for chunk in chunks:
        for names, rows in pieces(chunk):
            for row in rows:
                yield dict(zip(names, row, strict=True))


def known(name: str) -> Table:
    """The table of this name."""
    table = METADATA.tables.get(name)
    if table is None:
        raise Fatal(
            f"the backup holds a table {name}, which this version does not have; restore it with the newer one"
        )
    return table


def filled(ledger: Ledger) -> list[str]:
    """The names of the tables that hold something."""
    with ledger.reading() as connection:
        return [
            table.name
            for table in METADATA.sorted_tables
            if connection.execute(
                select(func.count()).select_from(select(table).limit(1).subquery())
            ).scalar_one()
        ]


def write_table(
    connection: Connection,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    wanted: Callable[[Mapping[str, Any]], bool],
) -> int:
    """Insert the rows that are `wanted`; how many."""
    table, count = known(name), 0
    some: list[Mapping[str, Any]] = []

    def insert() -> None:
        if some:
            strange = some[0].keys() - {column.name for column in table.columns}
            if strange:
                raise Fatal(
                    f"the backup's table {name} has a column {min(strange)}, which this version does not have"
                )
            connection.execute(table.insert(), [dict(row) for row in some])

    for row in rows:
        if wanted(row):
            some.append(row)
            count += 1
            if len(some) == ROWS:
                insert()
                some.clear()
    insert()
    return count
