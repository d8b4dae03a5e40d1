"""The reader: step 1 for messages whose text nobody has read yet. It reads the text and sends them on as events.

Messages go from `social.messages` to the same partition of `social.events`, in order, under their own message ids. The
reader commits an offset after its event is acknowledged. After a crash it reads the messages since the last commit
again, and skips those already sent: it finds their ids at the end of `social.events`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter

from faust.types.tuples import TP

import schemas
from agents.runtime import IntakeRole
from agents.topology import groups
from config.settings import Settings
from models.text import Correction, MessageReader
from schemas.topics import CORRECTIONS, MESSAGES, SOCIAL
from serving.monitoring import RoleStatus
from streams.batches import RawBatch, records
from streams.errors import Poison
from streams.intake import WINDOW, Batches, Bounds, DeadLetters, RecentIds, identity_of
from streams.kafka import BrokerProbe, Record, read_to_end
from streams.supervision import STALL_S, Watch, reached

from .correction_feed import PARTITION, CorrectionFeed

GROUP = groups.READER
log = logging.getLogger(__name__)

SLICE = 20  # messages (some milliseconds) before the event loop gets its turn
LARGEST_BYTES = 900_000  # of an event; a broker accepts a megabyte
LOOK_S = 0.05
LEARN = "corrections learned"


class ReaderRole(IntakeRole):
    """Takes messages, reads their text and sends them on."""

    NAME = "reader"
    POINTS = ("sent", "acknowledged")  # events are sent; they are acknowledged, offsets not yet committed

    def __init__(self, settings: Settings, *, group: str = GROUP, stall_s: float = STALL_S) -> None:
        super().__init__(settings, group, [MESSAGES], stall_s=stall_s)
        self.reader = MessageReader.of(settings.phrases)
        self._turn = threading.Lock()  # reading and learning share `self.reader`
        self.feed = CorrectionFeed(settings.access, self._learn)
        self.letters = DeadLetters(self.outputs)
        self.languages: Counter[str] = Counter()
        self.unread = self.repeated = 0
        self._seen = RecentIds()
        self._probe = BrokerProbe(settings.access)

    # -- Taker -------------------------------------------------------------------------------------------

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        """Start at the committed offsets, knowing the ids of events that may have been sent already."""
        waiting = [tp.partition for tp, (start, end) in bounds.items() if start < end]
        loop = asyncio.get_running_loop()
        self._seen = seen = RecentIds()
        if waiting:
            for record in await loop.run_in_executor(None, self._tail, waiting):
                seen.enter(record.partition, _identity(record.key, record.value))
        return {tp: start for tp, (start, _) in bounds.items()}

    def _tail(self, numbers: list[int]) -> list[Record]:
        """Read the newest events of some partitions."""
        return list(
            read_to_end(
                self.settings.access, SOCIAL, group=groups.CORRECTIONS, partitions=numbers, last=WINDOW
            )
        )

    async def take(self, batches: Batches) -> None:
        """Read the messages of a fetch, a slice at a time."""
        epoch = self.intake.epoch
        for tp, batch in batches:
            if self.intake.epoch == epoch:
                await self._take_batch(tp, batch, epoch)

    async def _take_batch(self, tp: TP, batch: RawBatch, epoch: int) -> None:
        time_ms = batch.append_time_ms
        try:
            found = records(batch)
        except Poison as error:
            self.letters.send(tp, batch.base_offset, str(error), "damaged batch", None, None, time_ms)
            found = iter(())
        for number, (offset, key, value) in enumerate(found):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
                if self.intake.epoch != epoch:
                    return
            if offset >= self.intake.positions[tp]:
                try:
                    self._pass_on(tp.partition, key, value)
                except Poison as error:
                    self.letters.send(tp, offset, str(error), "not a message", key, value, time_ms)
                self.intake.taken(tp, offset + 1, epoch)
        self.intake.taken(tp, batch.next_offset, epoch)

    def _pass_on(self, number: int, key: bytes | None, value: bytes | None) -> None:
        message = _message(value)
        with self._turn:
            reading = self.reader.complete(message)
        event = schemas.encode("social_event", message)
        if len(event) + len(key or b"") > LARGEST_BYTES:
            raise Poison(f"a message of {len(event):,} bytes: expected at most {LARGEST_BYTES:,}")
        if not self._seen.enter(number, _identity(key, event)):
            self.repeated += 1
            return
        self.outputs.send(SOCIAL, [{"key": key, "value": event}], number)
        if reading is None:
            self.unread += 1
        else:
            self.languages[reading.language] += 1

    async def commit(self) -> dict[TP, int]:
        """Wait until all events and dead letters are acknowledged; return the offsets to commit."""
        offsets = dict(self.intake.positions)
        reached(self.failpoints, "sent")
        with self.intake.steps("outputs acknowledged"):
            await self.outputs.settled(self.outputs.begin_epoch())
        reached(self.failpoints, "acknowledged")
        self.completed_at = time.monotonic()
        return offsets

    def _learn(self, correction: Correction) -> None:
        """Learn a correction, in the feed's thread."""
        with self._turn:
            self.reader.learn(correction)

    # -- figures -----------------------------------------------------------------------------------------

    def watches(self) -> list[Watch]:
        """Watch the learning of corrections, then the events and dead letters not acknowledged yet."""
        return [Watch(self._learning), Watch(self._acknowledging, functions={self._pass_on: "read"})]

    def _acknowledging(self) -> dict[str, object]:
        step = "outputs acknowledged"
        return {step: self.outputs.pending} if step in self.intake.steps else {}

    def _learning(self) -> dict[str, object]:
        """Return the feed's position while corrections wait, those at the start included."""
        end = self._probe.ends([(CORRECTIONS, PARTITION)]).get((CORRECTIONS, PARTITION), -1)
        waits = end > self.feed.position or not self.feed.caught_up.is_set()
        return {LEARN: self.feed.position} if waits else {}

    def waits_for(self) -> str:
        """Return how far the corrections are learned; the first message is read only after all of them."""
        learned = self.feed.caught_up.is_set()
        return "" if learned else f"corrections are being learned, {self.feed.learned:,} so far"

    def status(self) -> RoleStatus:
        """Return the figures for /status, /metrics and the page."""
        return {
            **super().status(),
            "missed": self.intake.missed + self.feed.missed,
            "dead_letters": dict(self.letters.reasons),
            "messages": dict(self.languages),
            "unread": self.unread,
            "repeated": self.repeated,
            "corrections": self.feed.learned,
            "corrections_refused": self.feed.refused,
        }

    async def prepare(self) -> None:
        """Learn all corrections that are there."""
        self.feed.start()
        while not self.feed.caught_up.is_set():
            await asyncio.sleep(LOOK_S)

    async def finish(self) -> None:
        """Stop learning."""
        self.feed.stop()


def _identity(key: bytes | None, value: bytes | None) -> bytes:
    """Return customer and message id: a message id is unique only within its customer."""
    return (key or b"") + b"\0" + (identity_of(value or b"") or b"")


def _message(value: bytes | None) -> dict[str, object]:
    """Decode the message in a record's value. Raises `Poison` if there is none."""
    if value is None:
        raise Poison("a message without a value")
    try:
        name, record = schemas.decode(value)
    except schemas.SchemaError as error:
        raise Poison(f"not a message: {error}") from error
    if name != "social_event":
        raise Poison(f"not a message but a {name}")
    return record
