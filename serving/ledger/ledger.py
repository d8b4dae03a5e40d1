"""Step 9, serve: the SQL ledger of alerts, offers and their outcomes.

Writes are exactly once in effect: the ledger drops a record whose id it already has, and stores the
last offset in the same transaction. After a crash, resume from `applied()`, not from the offsets
committed to Kafka: SQLite may lose its newest transactions in a power failure (`synchronous=NORMAL`),
and `applied()` goes back with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DBAPIError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.schema import CreateIndex, CreateTable

from serving.sql import (
    REFUSED,
    WAITS,
    address_of,
    cause_of,
    is_poison,
    make_folder,
    may_pass,
    open_engine,
    usable,
)
from streams.errors import Fatal, Poison, Retryable

from .tables import APPLIED, BY_KIND, METADATA, Record, readable, row

TOPICS: Mapping[str, str] = {"alerts": "alert", "offers": "offer", "offer.outcomes": "outcome"}

# Any constant will do. The lock makes two roles that start at once create the tables one after the other.
CREATE_LOCK = 0x57726561


class Written(NamedTuple):
    """How many records of a batch were new, and how many the ledger already had."""

    inserted: int
    repeated: int


class Ledger:
    """Alerts, offers and outcomes in SQLite or PostgreSQL; safe to use from several threads.

    `topics` says which kind of record (alert, offer, outcome) a topic holds.
    """

    def __init__(self, url: str, topics: Mapping[str, str] = TOPICS) -> None:
        self._url = usable(url)
        self._tables = {topic: BY_KIND[kind] for topic, kind in topics.items()}
        self._engine = open_engine(self._url)
        self.address = address_of(self._url)

    def open(self) -> Ledger:
        """Create missing tables."""
        if self._url.get_backend_name() == "sqlite":
            make_folder(self._url)
        with self._transaction() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CREATE_LOCK})
            for table in METADATA.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    connection.execute(CreateIndex(index, if_not_exists=True))
        return self

    def close(self) -> None:
        self._engine.dispose()

    def unanswered(self) -> str:
        """Return why the database accepts no new connection within seconds; "" if it does. A file always does."""
        if self._url.get_backend_name() == "sqlite":
            return ""
        dialect = self._engine.dialect
        given, named = dialect.create_connect_args(self._url)
        try:
            dialect.loaded_dbapi.connect(*given, **{**named, **WAITS}).close()
        except dialect.loaded_dbapi.Error as error:
            return f"SQL ledger at {self.address} does not answer: {str(error).splitlines()[0]}"
        return ""

    def write(self, batch: Sequence[Record]) -> Written:
        """Insert the new records of `batch` and store its offsets, in one transaction.

        Raises Poison if the database refuses a row; without an offset if only the database knows which row.
        """
        rows: dict[Table, list[dict[str, Any]]] = {}
        last: dict[tuple[str, int], int] = {}
        for record in batch:
            topic, partition, offset, _ = record
            table = self._table(topic)
            rows.setdefault(table, []).append(row(table, record))
            last[topic, partition] = max(offset, last.get((topic, partition), offset))
        if not last:
            return Written(0, 0)
        with self._transaction() as connection:
            inserted = sum(self._insert(connection, table, some) for table, some in rows.items())
            self._note_applied(connection, last)
        return Written(inserted, len(batch) - inserted)

    def applied(self) -> dict[tuple[str, int], int]:
        """Return the last offset written, by topic and partition."""
        with self._transaction() as connection:
            return {(r.topic, r.partition): r.offset for r in connection.execute(select(APPLIED))}

    def counts(self) -> dict[str, int]:
        """Return the row count of each table. It scans them: call it rarely and add up `Written` in between."""
        with self._transaction() as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in BY_KIND.values()
            }

    def newest(self, kind: str, limit: int) -> list[dict[str, Any]]:
        """Return the newest rows of `kind` (alert, offer, outcome) by time, newest first."""
        table = BY_KIND[kind]
        query = select(table).order_by(table.c.time.desc(), table.c.id.desc()).limit(limit)
        with self._transaction() as connection:
            return [readable(dict(found)) for found in connection.execute(query).mappings()]

    def _table(self, topic: str) -> Table:
        try:
            return self._tables[topic]
        except KeyError:
            raise Fatal(
                f"the ledger keeps no table for topic {topic}: it reads {', '.join(self._tables)}"
            ) from None

    def _insert(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
        """Insert `rows`; return how many were new."""
        statement = self._into(table).on_conflict_do_nothing(index_elements=[table.c.id])
        compiled = statement.compile(dialect=connection.dialect)
        given: list[Any] = rows
        if compiled.positiontup is not None:
            given = list(map(itemgetter(*compiled.positiontup), rows))
        # bypasses SQLAlchemy's processing of each value: the drivers take these values as they are
        return connection.exec_driver_sql(
            str(compiled), given, execution_options={"preserve_rowcount": True}
        ).rowcount

    def _note_applied(self, connection: Connection, last: Mapping[tuple[str, int], int]) -> None:
        """Store offsets, never lower than before: a replay must not move them back."""
        adding = self._into(APPLIED)
        statement = adding.on_conflict_do_update(
            index_elements=[APPLIED.c.topic, APPLIED.c.partition],
            set_={"offset": adding.excluded.offset},
            where=adding.excluded.offset > APPLIED.c.offset,
        )
        connection.execute(
            statement,
            [{"topic": t, "partition": p, "offset": offset} for (t, p), offset in sorted(last.items())],
        )

    def _into(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        if self._url.get_backend_name() == "sqlite":
            return sqlite.insert(table)
        return postgresql.insert(table)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads one snapshot, whatever others write meanwhile."""
        with self._transaction() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            else:
                connection.exec_driver_sql("BEGIN")  # the driver begins a transaction only before a change
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that commits all of its writes or none."""
        with self._transaction() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction that turns database errors into ours, which say what to do."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except PoolTimeoutError as error:
            raise Retryable(f"SQL ledger at {self.address}: every connection is in use") from error
        except DBAPIError as error:
            if is_poison(error):
                raise Poison(f"the database takes no such row: {cause_of(error)}") from error
            cause = cause_of(error)
            refused = any(words in cause for words in REFUSED)
            line = f"SQL ledger at {self.address}: {cause}; {self._advice(refused)}"
            raise (Retryable if may_pass(error) and not refused else Fatal)(line) from error

    def _advice(self, refused: bool) -> str:
        if refused:
            return "check user, password, sslmode and sslrootcert in STREAMWISE_LEDGER"
        if self._url.get_backend_name() == "sqlite":
            return "see that the file can be written, its disk has room and no other program holds it"
        return "start PostgreSQL there (`docker compose up -d postgres`), or name another ledger URL"


__all__ = ["TOPICS", "Ledger", "Record", "Written"]
