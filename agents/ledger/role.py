"""The ledger role: writes alerts, offers and their outcomes into SQL, each once in effect.

The offsets in SQL decide, whatever was committed to Kafka: at the start and after a rebalance the role asks SQL which
offset it holds of each partition, and reads on right behind it. While SQL is away the agent waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from faust.types.tuples import TP

import schemas
from agents.runtime import IntakeRole
from agents.topology import groups
from config.settings import Settings
from decisions.receipts import decode_decisions
from serving.ledger import TOPICS, Ledger, Record, Written
from serving.monitoring import RoleStatus
from streams.batches import RawBatch, records
from streams.errors import Fatal, Poison, Retryable
from streams.intake import Batches, Bounds, DeadLetters
from streams.supervision import STALL_S, Watch, reached

GROUP = groups.LEDGER
log = logging.getLogger(__name__)

T = TypeVar("T")

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 10.0
START_PATIENCE_S = 30.0
TRANSACTION_ROWS = 4000


class DecodedRecord(NamedTuple):
    """A decoded record, with the key, value and append time of the record it comes from."""

    record: Record
    key: bytes | None
    value: bytes | None
    time_ms: int


class LedgerRole(IntakeRole):
    """Takes the topics that the ledger keeps."""

    NAME = "ledger"
    POINTS = ("decoded", "written")  # before and after a transaction

    def __init__(self, settings: Settings, *, group: str = GROUP, stall_s: float = STALL_S) -> None:
        super().__init__(settings, group, list(TOPICS), stall_s=stall_s)
        self.ledger = Ledger(settings.ledger_url)
        self.letters = DeadLetters(self.outputs)
        self.inserted = self.repeated = 0
        self.away: str | None = None  # why SQL is away; None while it answers

    # -- Taker -------------------------------------------------------------------------------------------

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """Start right behind the offset that SQL holds, or at the first record of a partition unknown to SQL."""
        applied = await self._patiently(self.ledger.applied)
        for tp, (_, end) in bounds.items():
            held = applied.get((tp.topic, tp.partition), -1)
            if held >= end:
                raise Fatal(
                    f"{tp.topic}[{tp.partition}] ends at offset {end}, but the ledger at {self.ledger.address} holds "
                    f"offset {held}: the topics were created anew, so name a new ledger, too (STREAMWISE_LEDGER)"
                )
        unknown = [tp for tp in bounds if (tp.topic, tp.partition) not in applied]
        earliest = await self.intake.earliest(unknown) if unknown else {}
        return {tp: earliest[tp] if tp in earliest else applied[tp.topic, tp.partition] + 1 for tp in bounds}

    async def take(self, batches: Batches) -> None:
        """Write the records of a fetch, several batches a transaction: a transaction costs much more than a row."""
        epoch = self.intake.epoch
        arrived: list[DecodedRecord] = []
        ends: dict[TP, int] = {}
        for number, (tp, batch) in enumerate(batches):
            if self.intake.epoch != epoch:  # the rest of the fetch is read again, from the offsets in SQL
                return
            arrived += self._decode(tp, batch, self.intake.positions[tp])
            ends[tp] = batch.next_offset
            if len(arrived) < TRANSACTION_ROWS and number + 1 < len(batches):
                continue
            # SQL will hold offsets past these records, and nobody reads them again: first secure their dead letters
            await self.outputs.settled(self.outputs.begin_epoch())
            reached(self.failpoints, "decoded")
            written = await self._write(arrived)
            reached(self.failpoints, "written")
            self.inserted += written.inserted
            self.repeated += written.repeated
            for end in ends.items():
                self.intake.taken(*end, epoch)
            arrived, ends = [], {}

    async def commit(self) -> dict[TP, int]:
        """Wait until the dead letters are acknowledged, too; all else that was taken is in SQL."""
        offsets = dict(self.intake.positions)
        with self.intake.steps("outputs acknowledged"):
            await self.outputs.settled(self.outputs.begin_epoch())
        self.completed_at = time.monotonic()
        return offsets

    def _decode(self, tp: TP, batch: RawBatch, position: int) -> list[DecodedRecord]:
        found: list[DecodedRecord] = []
        time_ms = batch.append_time_ms
        try:
            wanted = [each for each in records(batch) if each[0] >= position]
        except Poison as error:
            self.letters.send(tp, batch.base_offset, str(error), "damaged batch", None, None, time_ms)
            return found
        cut: list[dict[str, Any] | None] = [None] * len(wanted)
        if schemas.TOPICS[tp.topic] == "decision":
            cut = decode_decisions([value for _, _, value in wanted])
        for (offset, key, value), record in zip(wanted, cut, strict=True):
            try:
                decoded = record or _decoded(tp.topic, value)
                found.append(DecodedRecord((tp.topic, tp.partition, offset, decoded), key, value, time_ms))
            except Poison as error:
                self.letters.send(tp, offset, str(error), f"not a record of {tp.topic}", key, value, time_ms)
        return found

    async def _write(self, arrived: list[DecodedRecord]) -> Written:
        """Write the records, and send those that make no row to the dead letters."""
        while arrived:
            try:
                return await self._patiently(self.ledger.write, [each.record for each in arrived])
            except Poison as error:
                at = (error.topic, error.partition, error.offset)
                if error.offset is None and len(arrived) > 1:
                    return await self._write_halves(arrived)
                wrong = next(each for each in arrived if error.offset is None or each.record[:3] == at)
                topic, partition, offset, _ = wrong.record
                self.letters.send(
                    TP(topic, partition), offset, str(error), f"not a record of {topic}", *wrong[1:]
                )
                arrived.remove(wrong)
        return Written(0, 0)

    async def _write_halves(self, arrived: list[DecodedRecord]) -> Written:
        """Find by bisection the record that the database refused without saying which."""
        half = len(arrived) // 2
        parts = [await self._write(part) for part in (arrived[:half], arrived[half:])]
        return Written(sum(part.inserted for part in parts), sum(part.repeated for part in parts))

    async def _patiently(self, call: Callable[..., T], *given: object) -> T:
        """Call in a thread, and retry while SQL is away: the agent waits, and so does its topic (back pressure)."""
        loop = asyncio.get_running_loop()
        pause_s = BACKOFF_FIRST_S
        while True:
            try:
                with self.intake.steps(f"SQL {call.__name__}"):
                    done = await loop.run_in_executor(None, call, *given)
            except Retryable as error:
                if self.away is None:
                    log.warning("waiting: %s", error)
                self.away = str(error)
                await asyncio.sleep(pause_s)
                pause_s = min(BACKOFF_MAX_S, 2 * pause_s)
            else:
                self.away = None
                return done

    # -- figures -----------------------------------------------------------------------------------------

    def watches(self) -> list[Watch]:
        """Watch the decoding of a fetch."""
        return [Watch(dict, functions={self._decode: "decode"})]

    def who_is_away(self) -> str:
        """Return which of broker and database does not answer."""
        return super().who_is_away() or self.ledger.unanswered()

    def waits_for(self) -> str:
        """Return why SQL is away; empty while it answers."""
        return self.away or ""

    def status(self) -> RoleStatus:
        """Return the figures for /status, /metrics and the page."""
        return {
            **super().status(),
            "dead_letters": dict(self.letters.reasons),
            "ledger_inserted": self.inserted,
            "ledger_repeated": self.repeated,
        }

    # -- life --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the ledger until stopped."""
        await asyncio.get_running_loop().run_in_executor(None, self.open)
        try:
            await super().run()
        finally:
            self.ledger.close()

    def open(self) -> None:
        """Create the tables; wait up to `START_PATIENCE_S` for a database that is starting."""
        until = time.monotonic() + START_PATIENCE_S
        while True:
            try:
                self.ledger.open()
                return
            except Retryable as error:
                if time.monotonic() > until:
                    raise
                log.warning("waiting: %s", error)
                time.sleep(1.0)


def _decoded(topic: str, value: bytes | None) -> dict[str, object]:
    """Decode the record in a value; raise `Poison` if it does not belong in this topic."""
    if value is None:
        raise Poison("a record without a value")
    try:
        name, record = schemas.decode(value)
    except schemas.SchemaError as error:
        raise Poison(f"does not decode: {error}") from error
    if name != schemas.TOPICS[topic]:
        raise Poison(f"expected a {schemas.TOPICS[topic]}, got a {name}")
    return record
