"""The ledger's tables in a backup: a full one holds every table, an increment only those not derived from topics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, func, select

from backup.file import TABLE, ArchiveWriter, piece, pieces
from serving.ledger import APPLIED, BY_KIND, METADATA, Ledger
from streams.errors import Fatal

ROWS = 500  # rows in a piece of the archive, and in one INSERT
FROM_TOPICS = (*(table.name for table in BY_KIND.values()), APPLIED.name)


def read_tables(connection: Connection, archive: ArchiveWriter, whole: bool) -> dict[str, int]:
    """Write each table into its own section. Returns the row counts. `whole`: include tables derived from topics."""
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
    """The ledger's positions: the last offset that it holds of each partition."""
    return {(row.topic, row.partition): row.offset for row in connection.execute(select(APPLIED))}


def rows_of(chunks: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    """Yields the rows in a section of a table."""
    for chunk in chunks:
        for names, rows in pieces(chunk):
            for row in rows:
                yield dict(zip(names, row, strict=True))


def known(name: str) -> Table:
    """The ledger's table of this name; raises Fatal if this version has none."""
    table = METADATA.tables.get(name)
    if table is None:
        raise Fatal(
            f"the backup holds a table {name}, which this version does not have; restore it with a newer version"
        )
    return table


def filled(ledger: Ledger) -> list[str]:
    """The names of the tables that are not empty."""
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
    """Insert the rows that are `wanted`. Returns how many."""
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
