"""A SQL database by URL: how it is opened, how long it is waited for, and which of its errors may pass."""

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

# Longer than any transaction of ours, shorter than a consumer's patience with its group.
BUSY_TIMEOUT_S = 10

CONNECT_TIMEOUT_S = 5

# Silence on a sent packet after which a PostgreSQL that vanished counts as gone.
SILENCE_TIMEOUT_MS = 10_000

# Ids are random, so that each row touches pages of its own: they are written back less often than by default.
CHECKPOINT_PAGES = 8000

CACHE_KIB = 64 << 10

# What PostgreSQL and its client say when waiting does not help; an error while connecting has no code.
REFUSED = ("password authentication failed", "certificate", "no pg_hba.conf entry")

WAITS: Mapping[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": SILENCE_TIMEOUT_MS}

EXPECTED = "expected sqlite:///FILE.db or postgresql://USER:PASSWORD@HOST:5432/DATABASE"


def usable(url: str) -> URL:
    """`url` read and checked; the line of an error never repeats it, as it may hold a password."""
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
    """Readers do not hold up the writer, and a commit needs no flush: see the docstring above."""
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
    """Where the ledger is, without user's password or options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    user = f"{url.username}@" if url.username else ""
    return f"postgresql://{user}{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"


def cause_of(error: DBAPIError) -> str:
    return (str(error.orig).splitlines() or [type(error.orig).__name__])[0]


def is_poison(error: DBAPIError) -> bool:
    """Whether it is a row's own fault: a value out of range, or larger than an index takes (54000)."""
    return isinstance(error, DataError) or getattr(error.orig, "sqlstate", None) == "54000"


def may_pass(error: DBAPIError) -> bool:
    """Whether the same call may succeed later. SQLite calls a wrong statement operational, too."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        wrong = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in (
            sqlite3.SQLITE_ERROR,
            sqlite3.SQLITE_NOTADB,
        )
        return isinstance(error, OperationalError) and not wrong
    return isinstance(error, OperationalError | InterfaceError)
