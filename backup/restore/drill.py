"""A drill restores a backup to a scratch place and compares every row, snapshot and table.

The scratch place is partitions in memory, with the config of the backup, and a SQLite ledger in a temporary folder.
The worker's own Restorer fills the partitions from record batches of the records that a restore would send. Memory
holds the rows of one partition at a time.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from sqlalchemy import select

import schemas
from backup.analyst_state import whole
from backup.chain import Chain
from backup.ledger_tables import known, write_table
from models.scoring import Snapshot
from pipeline.config import load_config
from pipeline.live_pass import LivePass
from serving.ledger import Ledger
from streams.batches import parse_batch
from streams.durability import CONTROL_KEY, LAYOUT_KEY, Restorer, read_control
from streams.engine import Partition
from streams.errors import StreamwiseError
from streams.state import packed

AT_ONCE = 4096
SHOWN = 10  # differences that the report names; all are counted
Advance = Callable[[int], None]  # takes the number of records done


class Findings:
    """Counts what was compared, by kind, and what differs."""

    def __init__(self) -> None:
        self.compared: dict[str, int] = {}
        self.different: dict[str, int] = {}
        self.shown: list[str] = []

    def same(self, kind: str, count: int = 1) -> None:
        """Count things of a kind that match."""
        self.compared[kind] = self.compared.get(kind, 0) + count

    def differs(self, kind: str, what: str) -> None:
        """Count one thing that differs; `what` names it."""
        self.same(kind)
        self.different[kind] = self.different.get(kind, 0) + 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{kind}: {what}")

    def check(self, good: bool, kind: str, what: str) -> None:
        """Count one thing as a match if `good`, else as a difference."""
        if good:
            self.same(kind)
        else:
            self.differs(kind, what)

    def report(self) -> dict[str, Any]:
        """Return the findings as plain data."""
        return {
            "ok": not self.different,
            "compared": self.compared,
            "different": sum(self.different.values()),
            "differences": self.shown,
        }


def digest(value: bytes) -> bytes:
    """Return a 16-byte hash that stands for a value."""
    return hashlib.blake2b(value, digest_size=16).digest()


class Expected:
    """What the restore of a changelog partition must give.

    It holds a digest of each row, the deleted keys, the control row and the descriptions of layouts.
    """

    def __init__(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.older: dict[bytes, bytes] = {}  # whole rows of other layouts
        self.gone: set[bytes] = set()
        self.control = b""
        self.layouts: dict[int, bytes] = {}
        for key, value in records:
            if key == CONTROL_KEY:
                self.control = value or b""
            elif key.startswith(LAYOUT_KEY):
                self.layouts[int(key[len(LAYOUT_KEY) :])] = value or b""
            elif value is None:
                self.rows.pop(key, None)
                self.gone.add(key)
            else:
                self.rows[key] = digest(value)
                self.gone.discard(key)


class Drill:
    """Restores a chain to the scratch place and compares the result with the chain."""

    def __init__(self, chain: Chain, findings: Findings, advance: Advance) -> None:
        self._chain, self._findings, self._advance = chain, findings, advance

    def run(self) -> None:
        """Restore and compare everything."""
        with tempfile.TemporaryDirectory(prefix="streamwise-drill-") as name:
            folder = Path(name)
            for file, data in self._chain.files().items():
                (folder / file).write_bytes(data)
            work = LivePass(load_config(folder))
            self._findings.same("config files", len(self._chain.files()))
            for number in range(self._chain.summary.partitions):
                self._rows(work, number)
                self._snapshots(work, number)
            self._tables(folder)
            self._analyst()

    # -- rows --------------------------------------------------------------------------------------------

    def _rows(self, work: LivePass, number: int) -> None:
        layout = work.layout
        expected = Expected(record for records in self._chain.changelog(number) for record in records)
        partition = Partition(number, len(layout.topics), work.fields, work.default_row, work.deadline_words)
        restorer = Restorer(layout.layout_id, work.migration)
        try:
            for data, count in batches(self._chain.changelog(number)):
                restorer.apply(partition, parse_batch(data, first=0))
                self._advance(count)
        except StreamwiseError as error:
            self._findings.differs("rows", str(error))
            return
        older = self._older(expected, layout.layout_id, number)
        keys = list(expected.rows)
        for start in range(0, len(keys), AT_ONCE):
            self._compare(partition, layout.layout_id, keys[start : start + AT_ONCE], expected, older, work)
        for key in expected.gone:
            slot = partition.index.find(key)
            self._findings.check(slot is None, "deleted rows", f"{key!r} is there")
        control = read_control(expected.control) if expected.control else {}
        self._findings.check(restorer.control == control, "control rows", f"partition {number}")

    def _older(self, expected: Expected, layout_id: int, number: int) -> dict[bytes, bytes]:
        """The whole rows of other layouts: the restore migrates them to the current layout."""
        if not expected.layouts.keys() - {layout_id}:
            return {}
        found: dict[bytes, bytes] = {}
        for records in self._chain.changelog(number):
            for key, value in records:
                if not key.startswith(b"\0"):
                    found.pop(key, None)
                    if value is not None and int.from_bytes(value[:8], "little", signed=True) != layout_id:
                        found[key] = value
        return found

    def _compare(
        self, partition: Partition, layout_id: int, keys: list[bytes], expected: Expected, older: dict[bytes, bytes],
        work: LivePass,
    ) -> None:  # fmt: skip
        found = [partition.index.find(key) for key in keys]
        there = [(key, slot) for key, slot in zip(keys, found, strict=True) if slot is not None]
        slots = np.array([slot for _, slot in there], np.int64)
        values, ends = partition.rows.values(slots, layout_id)
        data, stops = values.tobytes(), (8 * ends).tolist()
        starts = [0, *stops]
        for (key, _), start, stop in zip(there, starts, stops, strict=False):
            if key in older:
                good = data[start:stop] == _migrated(older[key], expected.layouts, work)
            else:
                good = digest(data[start:stop]) == expected.rows[key]
            self._findings.check(good, "rows", f"{key!r}")
        for key in set(keys) - {key for key, _ in there}:
            self._findings.differs("rows", f"{key!r} is missing")

    # -- models and tables -------------------------------------------------------------------------------

    def _snapshots(self, work: LivePass, number: int) -> None:
        for key, value in self._chain.models(number):
            try:
                snapshot = Snapshot.from_record(schemas.decode(value or b"")[1])
                snapshot.verify(work.config.models.names)
                good = f"{snapshot.model}/{snapshot.version}".encode() == key
            except (StreamwiseError, schemas.SchemaError) as error:
                self._findings.differs("snapshots", f"{key!r}: {error}")
            else:
                self._findings.check(good, "snapshots", f"{key!r}")

    def _analyst(self) -> None:
        found = {key: value for key, value in self._chain.analyst() if value is not None}
        if found:
            self._findings.check(
                whole(found),
                "analyst's state",
                f"{len(found)} records, fewer or more than its control record says",
            )

    def _tables(self, folder: Path) -> None:
        ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}").open()
        try:
            with ledger.writing() as connection:
                for name, rows in self._chain.tables().items():
                    write_table(connection, name, rows, lambda row: True)
            with ledger.reading() as connection:
                for name, rows in self._chain.tables().items():
                    result = connection.execution_options(yield_per=AT_ONCE).execute(select(known(name)))
                    restored = _sum(dict(row) for row in result.mappings())
                    wanted = _sum(rows)
                    if restored == wanted:
                        self._findings.same(f"rows of {name}", wanted[0])
                    else:
                        self._findings.differs(f"rows of {name}", f"{restored[0]} came back of {wanted[0]}")
        finally:
            ledger.close()


def batches(chunks: Iterable[list[tuple[bytes, bytes | None]]]) -> Iterator[tuple[bytes, int]]:
    """Yields the records as a broker's record batches, each with its number of records."""
    base = 0
    for records in chunks:
        builder: Any = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
        for place, (key, value) in enumerate(records):
            builder.append(place, 0, key, value, [])
        data = bytearray(builder.build())
        data[0:8] = base.to_bytes(8, "big")
        base += len(records)
        yield bytes(data), len(records)


def _migrated(value: bytes, layouts: dict[int, bytes], work: LivePass) -> bytes:
    """A row of an older layout, migrated to the current layout."""
    migration = work.migration(layouts[int.from_bytes(value[:8], "little", signed=True)])
    moved = np.empty((1, work.layout.words), np.int64)
    zero = np.array([0])
    migration.put(np.frombuffer(value, np.uint8), zero, np.array([len(value)]), zero, moved)
    new = work.layout.default_row.view(np.int64).reshape(1, -1)
    return bytes(packed(moved, new, work.layout.layout_id)[0].tobytes())


def _sum(rows: Iterable[dict[str, Any]]) -> tuple[int, int]:
    """The number of rows and a checksum over all of them, in any order."""
    count = total = 0
    for row in rows:
        count += 1
        encoded = msgspec.msgpack.encode([[str(name), row[name]] for name in sorted(row)])
        total = (total + int.from_bytes(digest(encoded), "little")) % 2**128
    return count, total
