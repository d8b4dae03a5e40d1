"""Opens a SQL database by its URL, sets its timeouts, and tells which of its errors are transient."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)

from streams.errors import Fatal

# Longer than any of our transactions, shorter than a consumer group's timeout.
BUSY_TIMEOUT_S = 10

CONNECT_TIMEOUT_S = 5

# A PostgreSQL that does not acknowledge a packet for this long counts as gone.
SILENCE_TIMEOUT_MS = 10_000

# Ids are random, so each row touches different pages: checkpoints are rarer than by default.
CHECKPOINT_PAGES = 8000

CACHE_KIB = 64 << 10

# Errors of PostgreSQL for which a retry does not help, by their text: an error while connecting has no code.
REFUSED = ("password authentication failed", "certificate", "no pg_hba.conf entry")

WAITS: Mapping[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": SILENCE_TIMEOUT_MS}

EXPECTED = "expected sqlite:///FILE.db or postgresql://USER:PASSWORD@HOST:5432/DATABASE"


def usable(url: str) -> URL:
    """Parse and check `url`. Error messages never quote it, as it may hold a password."""
    try:
        read = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise Fatal(f"the ledger URL cannot be read: {EXPECTED}") from error
    backend = read.get_backend_name()
    if backend in ("postgres", "postgresql"):
        return read.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise Fatal(f"the ledger URL names {backend}: {EXPECTED}")
    if not read.database or read.database == ":memory:":
        raise Fatal(f"the ledger URL names no file, so nothing would be kept: {EXPECTED}")
    return read


def open_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    try:
        return create_engine(url, pool_pre_ping=True, connect_args=WAITS)
    except (ImportError, NoSuchModuleError) as error:
        raise Fatal("PostgreSQL needs its driver: run `pip install 'streamwise[postgresql]'`") from error


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Set WAL mode, so that readers do not block the writer; commits need no flush (see serving.ledger.ledger)."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")


def make_folder(url: URL) -> None:
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Fatal(f"the folder of the ledger cannot be made: {folder}: {error.strerror}") from error


def address_of(url: URL) -> str:
    """Return the address of the ledger, without password or options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    user = f"{url.username}@" if url.username else ""
    return f"postgresql://{user}{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"


def cause_of(error: DBAPIError) -> str:
    return (str(error.orig).splitlines() or [type(error.orig).__name__])[0]


def is_poison(error: DBAPIError) -> bool:
    """Whether a row caused the error: a value out of range, or too large for an index (54000)."""
    return isinstance(error, DataError) or getattr(error.orig, "sqlstate", None) == "54000"


def may_pass(error: DBAPIError) -> bool:
    """Whether the same call may succeed later. SQLite reports a wrong statement as OperationalError too."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        wrong = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in (
            sqlite3.SQLITE_ERROR,
            sqlite3.SQLITE_NOTADB,
        )
        return isinstance(error, OperationalError) and not wrong
    return isinstance(error, OperationalError | InterfaceError)
