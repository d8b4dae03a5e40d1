"""The analyst's state as records of its changelog, written in one transaction a cycle, the control record last.

All records are in one partition, so that a cycle is there as a whole or not at all. A cycle writes only what changed.
A customer has the customer's key. The items of the table, and the pieces of the assortment and the forecasts, have
keys that begin with a zero byte, as no customer's key does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cramjam
import msgspec
import numpy as np
from numpy.typing import NDArray

from models.forecasting import Forecaster
from models.recommendation import NAME_BYTES, Assortment, CustomerItems, Recommender, Table, words
from schemas.topics import ANALYST_CHANGELOG
from streams.durability import CONTROL_KEY
from streams.errors import Fatal, Poison
from streams.kafka import Kafka, read_to_end

from .analysis import Analysis

log = logging.getLogger(__name__)

PARTITION: Final = 0
PIECE_BYTES: Final = 512 << 10  # a broker with default settings accepts a record of 1 MB
CONTROL: Final = CONTROL_KEY
ITEM, ASSORTMENT, FORECAST = b"\0item/", b"\0assortment/", b"\0forecast/"
GROUP: Final = "streamwise-analyst-state"  # no consumer joins it
FORMAT: Final = 1
ITEMS_A_LOOK: Final = 256  # 400 kB


class Control(msgspec.Struct, forbid_unknown_fields=True):
    """The control record of a cycle. `offsets`: the next event to learn of each `topic:partition`. `items`, `shoppers`
    and `pieces`: how many records of each sort the log holds beside this one."""

    format: int
    offsets: dict[str, int]
    items: int
    shoppers: int
    pieces: int
    recommender: bytes
    renewed_baskets: int
    renewed_ms: float
    swept_ms: float
    published: list[bytes]
    live: bool


@dataclass(slots=True)
class Kept:
    """The changelog as it was read. `torn`: the keys of an incomplete cycle, which have to be written again."""

    records: dict[bytes, bytes] = field(default_factory=dict)
    torn: set[bytes] = field(default_factory=set)

    def put(self, pending: dict[bytes, bytes | None]) -> None:
        """Apply the records of a complete cycle."""
        for key, value in pending.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value


class StateLog:
    """Writes the changes of an analysis since the last cycle, and restores one. It knows what the log holds."""

    def __init__(self) -> None:
        self._rows: NDArray[np.int64] | None = None
        self._compared = -1  # how many events were learned at the last comparison of the items
        self._pieces: dict[bytes, bytes | None] = {}
        self._assortment = 0  # the version that the log holds
        self._control = b""

    def changes(self, analysis: Analysis, offsets: Mapping[str, int], live: bool) -> list[dict[str, Any]]:
        """Return the records of a cycle, none if nothing changed; the log is taken to hold them from here on."""
        shop = analysis.shop
        found = [_message(key, self._shopper(analysis, key)) for key in shop.take_changed()]
        found += self._items(analysis)
        pieces = dict(self._forecasts(analysis))
        if shop.assortment is not None and shop.assortment.version != self._assortment:
            names = [shop.names[key] for key in shop.assortment.keys.tolist()]
            pieces |= _cut(ASSORTMENT, msgspec.msgpack.encode([shop.assortment.to_bytes(), names]))
            self._assortment = shop.assortment.version
        else:
            pieces |= {
                key: value for key, value in self._pieces.items() if key.startswith(ASSORTMENT) and value
            }
        found += [_message(key, value) for key, value in pieces.items() if self._pieces.get(key) != value]
        found += [_message(key, None) for key in self._pieces if key not in pieces]
        self._pieces = dict(pieces)
        control = Control(
            format=FORMAT,
            offsets=dict(offsets),
            items=int(np.count_nonzero(shop.recommender.table.keys)),
            shoppers=len(shop.shoppers),
            pieces=len(pieces),
            recommender=shop.recommender.state(table=False),
            renewed_baskets=shop.renewed_baskets,
            renewed_ms=shop.renewed_ms,
            swept_ms=shop.swept_ms,
            published=analysis.published,
            live=live,
        )
        told, self._control = self._control, msgspec.msgpack.encode(control)
        return [*found, _message(CONTROL, self._control)] if found or told != self._control else []

    def _shopper(self, analysis: Analysis, key: bytes) -> bytes | None:
        shopper = analysis.shop.shoppers.get(key)
        return None if shopper is None else shopper.to_bytes()

    def _items(self, analysis: Analysis) -> Iterator[dict[str, Any]]:
        """Compare some items at a time, because the words of all of them would be as large as the table."""
        if analysis.events == self._compared:
            return
        self._compared = analysis.events
        table, names = analysis.shop.recommender.table, analysis.shop.names
        if self._rows is None:
            self._rows = _no_rows(table)
        for first in range(0, len(table.keys), ITEMS_A_LOOK):
            rows = words(_part(table, first, first + ITEMS_A_LOOK))
            before = self._rows[first : first + ITEMS_A_LOOK]
            changed = np.flatnonzero((rows != before).any(axis=1))
            for at in changed.tolist():
                key = ITEM + b"%d" % (first + at)
                if not rows[at, 0]:
                    yield _message(key, None)
                    continue
                row = rows[at].astype("<i8").tobytes() + names[int(rows[at, 0])].encode()
                yield _message(key, bytes(cramjam.lz4.compress_block(row)))
            before[changed] = rows[changed]

    def _forecasts(self, analysis: Analysis) -> Iterator[tuple[bytes, bytes]]:
        for name, forecaster in analysis.forecasters.items():
            yield from _cut(FORECAST + name.encode() + b"/", forecaster.state()).items()

    # -- restore -----------------------------------------------------------------------------------------

    def restore(self, analysis: Analysis, kept: Kept) -> Control | None:
        """Restore `analysis` from `kept`, and empty `kept`; return the control record, or None if there is none.

        Raises `Fatal` if the records are unusable.
        """
        records = kept.records
        data = records.pop(CONTROL, None)
        control = None
        try:
            if data is not None:
                control = msgspec.msgpack.decode(data, type=Control)
                if control.format != FORMAT:
                    raise Poison(f"expected format {FORMAT}, got {control.format}")
                self._restore(analysis, control, records)
        except (Poison, msgspec.MsgspecError, cramjam.DecompressionError, ValueError) as error:
            raise Fatal(
                f"the state in topic {ANALYST_CHANGELOG} is unusable: {error}; restore it from a backup, or delete it "
                "and run `streamwise topics` to learn anew"
            ) from error
        self._write_again(analysis, kept.torn)
        return control

    def _restore(self, analysis: Analysis, control: Control, records: dict[bytes, bytes]) -> None:
        shop = analysis.shop
        rows, names = _rows(shop.recommender, records)
        shop.recommender = Recommender.restore(control.recommender, rows=rows)
        self._rows = rows
        self._pieces = {key: records.pop(key) for key in list(records) if key.startswith(b"\0")}
        found = int(np.count_nonzero(rows[:, 0])), len(records), len(self._pieces)
        if found != (control.items, control.shoppers, control.pieces):
            wanted = f"{control.items} items, {control.shoppers} customers and {control.pieces} pieces"
            raise Poison(f"expected {wanted}, found {found}; is the topic compacted, with no record deleted?")
        whole = _joined(self._pieces, ASSORTMENT)
        if whole:
            assortment, of_it = msgspec.msgpack.decode(whole, type=tuple[bytes, list[str]])
            made = Assortment.from_bytes(assortment)
            shop.adopt(made, dict(zip(made.keys.tolist(), of_it, strict=True)))
            self._assortment = made.version
        shop.names |= names
        shop.renewed_baskets, shop.renewed_ms = control.renewed_baskets, control.renewed_ms
        shop.swept_ms = control.swept_ms
        for name in analysis.forecasters:
            self._restore_forecast(analysis, name)
        while records:
            key, value = records.popitem()
            shop.shoppers[key] = CustomerItems.from_bytes(value)
        analysis.published = control.published

    def _restore_forecast(self, analysis: Analysis, name: str) -> None:
        state = _joined(self._pieces, FORECAST + name.encode() + b"/")
        if not state:
            return
        spec = analysis.forecasters[name].spec
        try:
            analysis.forecasters[name] = Forecaster.restore(spec, state)
        except Poison as error:  # its declaration has changed
            log.warning("forecast %s starts from nothing: %s", name, error)

    def _write_again(self, analysis: Analysis, torn: set[bytes]) -> None:
        for key in torn:
            if not key.startswith(b"\0"):
                analysis.shop.changed.add(key)
            elif key.startswith(ITEM):
                if self._rows is None:
                    self._rows = _no_rows(analysis.shop.recommender.table)
                self._rows[int(key[len(ITEM) :])] = -1
            elif key != CONTROL:
                self._pieces[key] = None
                if key.startswith(ASSORTMENT):
                    self._assortment = 0


def _no_rows(table: Table) -> NDArray[np.int64]:
    """Return the `words` of an empty table of this size; pages that stay empty take no memory."""
    return np.zeros((len(table.keys), words(_part(table, 0, 1)).shape[1]), np.int64)


def _part(table: Table, first: int, end: int) -> Table:
    return Table._make(array[first:end] for array in table)


def read_state(kafka: Kafka) -> Kept:
    """Read the newest records of the changelog, by key. Raises `Retryable` if it cannot be read to its end."""
    kept, pending = Kept(), dict[bytes, bytes | None]()
    for record in read_to_end(kafka, ANALYST_CHANGELOG, group=GROUP, partitions=[PARTITION]):
        key = record.key or b""
        pending.pop(key, None)
        pending[key] = record.value
        if key == CONTROL:
            kept.put(pending)
            pending = {}
    kept.torn = set(pending)
    return kept


def _message(key: bytes, value: bytes | None) -> dict[str, Any]:
    return {"key": key, "value": value}


def _cut(prefix: bytes, data: bytes) -> dict[bytes, bytes]:
    starts = range(0, len(data), PIECE_BYTES)
    return {prefix + b"%d" % n: data[at : at + PIECE_BYTES] for n, at in enumerate(starts)}


def _joined(pieces: Mapping[bytes, bytes | None], prefix: bytes) -> bytes:
    found, number = b"", 0
    while part := pieces.get(prefix + b"%d" % number):
        found, number = found + part, number + 1
    return found


def _rows(recommender: Recommender, records: dict[bytes, bytes]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return the table's rows, and the names of its items by key."""
    rows = np.zeros_like(words(recommender.table))
    size, names = rows.shape[1] * 8, dict[int, str]()
    for key in [key for key in records if key.startswith(ITEM)]:
        place, packed = int(key[len(ITEM) :]), records.pop(key)
        whole = int.from_bytes(packed[:4], "little")
        if not (0 <= place < len(rows) and size <= whole <= size + NAME_BYTES):
            raise Poison(f"item {place} does not fit the table")
        data = bytes(cramjam.lz4.decompress_block(packed))
        rows[place] = np.frombuffer(data[:size], "<i8")
        names[int(rows[place, 0])] = data[size:].decode()
    names.pop(0, None)
    return rows, names
