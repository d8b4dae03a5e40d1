"""Step 9, serve: the tables of the SQL ledger, and how a record becomes a row.

The numbers of a receipt stay packed as `decisions.receipts` says: 8 bytes each, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

from decisions.receipts import PACKED, pack, unpack
from streams.errors import Poison

# topic, partition and offset of the record, and its decoded fields
Record = tuple[str, int, int, Mapping[str, Any]]

METADATA = MetaData()


def _decisions(name: str) -> Table:
    """`topic`, `partition` and `offset` name the event that caused the decision (for a deadline: empty and -1)."""
    return Table(
        name,
        METADATA,
        Column("id", Text, primary_key=True),
        Column("customer", Text, nullable=False),
        Column("policy", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("cause", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("layout", BigInteger, nullable=False),
        *(Column(packed, LargeBinary, nullable=False) for packed in PACKED),
        Index(f"{name}_by_time", "time"),
        Index(f"{name}_by_customer", "customer"),
    )


ALERTS = _decisions("alerts")
OFFERS = _decisions("offers")
OUTCOMES = Table(
    "outcomes",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("customer", Text, nullable=False),
    Column("offer", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("value", Double),
    Index("outcomes_by_time", "time"),
    Index("outcomes_by_customer", "customer"),
)
APPLIED = Table(
    "applied",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False),
)

# The tables that hold records, by the kind that `newest` takes.
BY_KIND: Mapping[str, Table] = {"alert": ALERTS, "offer": OFFERS, "outcome": OUTCOMES}


def storable(value: str | bytes) -> str:
    """Encode any key as text that every database accepts; different keys stay different.

    PostgreSQL refuses NUL and lone surrogates. Keys come from outside, and none may block the ledger.
    A key that needs no escape stays as it is. In any other, `\\` is doubled and each byte that text
    cannot hold becomes `\\xNN`.
    """
    if isinstance(value, str):
        if "\0" not in value and "\\" not in value and (value.isascii() or _encodes(value)):
            return value
        raw = value.encode("utf-8", "surrogatepass")
    else:
        raw = value
    return raw.replace(b"\\", b"\\\\").replace(b"\0", b"\\x00").decode("utf-8", "backslashreplace")


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _decision_row(decision: Mapping[str, Any]) -> dict[str, Any]:
    receipt = decision["receipt"]
    return {
        "id": storable(decision["id"]),
        "customer": storable(decision["customer"]),
        "policy": storable(decision["policy"]),
        "kind": decision["kind"],
        "time": decision["time"],
        "cause": storable(decision["cause"]),
        "topic": storable(decision["topic"]),
        "partition": decision["partition"],
        "offset": decision["offset"],
        "layout": receipt["layout"],
        "snapshots": pack(receipt["snapshots"], "q"),
        "scores": pack(receipt["scores"]),
        "fields": pack(receipt["fields"]),
        "values": pack(receipt["values"]),
    }


def _outcome_row(outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": storable(outcome["id"]),
        "customer": storable(outcome["customer"]),
        "offer": storable(outcome["offer"]),
        "kind": outcome["kind"],
        "time": outcome["time"],
        "value": outcome.get("value"),
    }


_ROWS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "alerts": _decision_row,
    "offers": _decision_row,
    "outcomes": _outcome_row,
}


def row(table: Table, record: Record) -> dict[str, Any]:
    """Make a row of `table` from `record`; raises Poison if the record lacks a field."""
    topic, partition, offset, decoded = record
    try:
        return _ROWS[table.name](decoded)
    except (KeyError, TypeError, AttributeError, struct.error) as error:
        raise Poison(
            f"no row of {table.name} can be made of it ({type(error).__name__}: {error})",
            topic=topic,
            partition=partition,
            offset=offset,
        ) from error


def readable(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Unpack the numbers of a row."""
    return {name: unpack(v, PACKED[name]) if name in PACKED else v for name, v in kept.items()}
