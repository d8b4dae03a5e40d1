"""Makes aiokafka return whole record batches instead of records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiokafka.consumer.fetcher as fetcher
import faust
from aiokafka.record.memory_records import _MemoryRecordsPy

from streams.batches import CONTROL, HEADER, TRANSACTIONAL, RawBatch, read_header, skipped
from streams.errors import Fatal, Poison, located
from streams.transport import frames

SCHEME = "batch"


class RawPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Yields `RawBatch` instead of records. Control and aborted batches come as empty ones, so that offsets advance."""

    next_fetch_offset: int

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.batches: list[RawBatch] = []
        self._damage: Fatal | Poison | None = None
        try:
            self._read_headers(self.next_fetch_offset)
        except (Fatal, Poison) as error:  # raised when the reader gets there
            after = self.batches[-1].next_offset if self.batches else self.next_fetch_offset
            self._damage = located(error, self._tp.topic, self._tp.partition, after)

    def _read_headers(self, first: int) -> None:
        records = self._records
        while records.has_next():
            data = records._next_slice
            batch = read_header(data, first=first)  # checks the length before aiokafka trusts it
            records._cache_next()
            if self.batches and batch.base_offset < self.batches[-1].next_offset:
                before = self.batches.pop()  # its offsets would make the next batch count as consumed
                raise Poison(f"a record batch from {before.base_offset} on reaches into the next one")
            if self._aborted(data, batch):
                batch = skipped(batch.base_offset, batch.next_offset)
            first = max(first, batch.next_offset)
            self.batches.append(batch)
            self._newest = data

    def end_at(self, end: int) -> None:
        """Refuse a last batch that claims offsets beyond `end`, the log's end when the broker began this fetch.

        Such offsets would move the position out of the log. But the broker reads on while others append, so sound
        batches may stand beyond that end. They are not compacted yet, so each of their offsets has its record.
        """
        if self.batches and self.batches[-1].next_offset > end and not self._just_written():
            batch = self.batches.pop()
            reason = f"a record batch claims offsets up to {batch.offset}, and the log ends at {end}"
            self._damage = Poison(
                reason, topic=self._tp.topic, partition=self._tp.partition, offset=batch.base_offset
            )

    def _just_written(self) -> bool:
        """Whether the last batch has a record for each of its offsets."""
        batch = self.batches[-1]
        return bool(HEADER.unpack_from(self._newest, 0)[12] == batch.next_offset - batch.base_offset)

    def _unpack_records(self) -> Iterator[RawBatch]:
        for batch in self.batches:
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
            yield batch
        if self._damage is not None:
            raise self._damage

    def _aborted(self, data: memoryview, batch: RawBatch) -> bool:
        """Whether the batch belongs to a transaction that was rolled back."""
        header = HEADER.unpack_from(data, 0)
        attributes, producer = header[5], header[9]
        if producer < 0 or not (attributes & TRANSACTIONAL):
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if attributes & CONTROL:
            self._aborted_producers.discard(producer)
            return False
        return producer in self._aborted_producers


def install() -> None:
    """Put the raw-batch classes in place of aiokafka's and register the `batch://` scheme. Idempotent."""
    for name in ("_unpack_records", "_consume_aborted_up_to"):
        if not hasattr(fetcher.PartitionRecords, name):
            raise Fatal(
                f"this aiokafka has no PartitionRecords.{name}; install the version in requirements.lock"
            )
    fetcher.PartitionRecords = RawPartitionRecords
    fetcher.MemoryRecords = _MemoryRecordsPy
    frames.install()
    faust.transport.by_url.__self__.aliases[SCHEME] = f"{__package__}.consumer:Transport"
