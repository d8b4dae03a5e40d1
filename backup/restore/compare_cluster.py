"""The second half of a drill: compares the backup with the cluster that it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from backup.chain import Chain
from backup.installation import Installation
from backup.topic_log import Cluster, Log
from serving.ledger import BY_KIND, Ledger
from streams.durability import CONTROL_KEY

from .drill import Advance, Expected, Findings, digest

IDS_AT_ONCE = 500


def compare_live(installation: Installation, chain: Chain, findings: Findings, advance: Advance) -> str:
    """Compare the cluster as of the cut; what changed since then is counted, not compared.

    Returns why it could not compare, "" if it did.
    """
    topics = [installation.changelog, *installation.consumers]
    if Cluster(installation.client).topic_ids(topics) != chain.summary.topic_ids:
        return "the topics of this cluster are not those of the backup"
    with Log(installation.client) as log:
        for number in range(chain.summary.partitions):
            _changelog(installation, chain, log, number, findings, advance)
            for topic in installation.consumers:
                _output(chain, log, topic, number, findings)
    ledger = Ledger(installation.ledger_url).open()
    try:
        _ledger(chain, ledger, findings)
    finally:
        ledger.close()
    return ""


def _changelog(
    at: Installation, chain: Chain, log: Log, number: int, findings: Findings, advance: Advance
) -> None:
    """Compare byte for byte every row that the log still has as of the cut."""
    expected = Expected(record for records in chain.changelog(number) for record in records)
    cut = chain.slices(number)[-1].cut
    low, high = log.bounds(at.changelog, number)
    live: dict[bytes, bytes | None] = {}
    newer: set[bytes] = set()
    control = b""
    for record in log.read(at.changelog, number, low, high):
        key = record.key or b""
        if record.offset >= cut:
            newer.add(key)
        elif key == CONTROL_KEY:
            control = record.value or b""
        elif not key.startswith(b"\0"):
            live[key] = digest(record.value) if record.value is not None else None
    advance(high - low)
    for key in expected.rows.keys() | live.keys():
        wanted, found = expected.rows.get(key), live.get(key)
        if wanted == found:
            findings.same("live rows")
        elif key in newer:  # rewritten since; the log may have dropped the older version
            findings.same("live rows changed since")
        else:
            findings.differs("live rows", f"{key!r}")
    if CONTROL_KEY not in newer or control:
        findings.check(control == expected.control, "live control rows", f"partition {number}")


def _output(chain: Chain, log: Log, topic: str, number: int, findings: Findings) -> None:
    found = chain.output_range(topic, number)
    low = log.bounds(topic, number)[0]
    live = {
        record.offset: (record.key or b"", record.value)
        for record in log.read(topic, number, max(low, found.begin), found.end)
    }
    for offset, record in enumerate(chain.output(topic, number), found.begin):
        if offset in live:
            findings.check(live[offset] == record, "live outputs", f"{topic}[{number}]@{offset}")


def _ledger(chain: Chain, ledger: Ledger, findings: Findings) -> None:
    tables = {table.name: table for table in BY_KIND.values()}
    with ledger.reading() as connection:
        for name, rows in chain.tables().items():
            if name not in tables:
                continue
            table = tables[name]
            for some in _grouped(rows):
                query = select(table).where(table.c.id.in_([row["id"] for row in some]))
                live = {row["id"]: dict(row) for row in connection.execute(query).mappings()}
                for row in some:
                    findings.check(live.get(row["id"]) == row, f"live rows of {name}", str(row["id"]))


def _grouped(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == IDS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some
