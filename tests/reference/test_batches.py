"""Our batches as aiokafka's own readers see them; and the event logs that are cut into batches."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import batches, streams
from tests.reference.record import Log, Record

RECORDS = [
    Record("t", 0, 7, b"key", b"value", 1_000),
    Record("t", 0, 8, None, b"", 900, (("name", b"x"), ("none", None))),
    Record("t", 0, 300, b"", None, 2_000),
    Record("t", 0, 301, bytes(70_000), random.Random(1).randbytes(50_000), 2_000),
]


def seen(raw: bytes) -> list[tuple[Any, ...]]:
    """Every record of every batch in `raw`, as aiokafka reads it; a wrong CRC fails."""
    found = []
    memory = MemoryRecords(raw)
    while memory.has_next():
        batch = memory.next_batch()
        assert batch.validate_crc()
        found += [(r.offset, r.key, r.value, r.timestamp, tuple(r.headers)) for r in batch]
    return found


def plain(records: list[Record]) -> list[tuple[Any, ...]]:
    return [record[2:] for record in records]


def test_crc32c_of_the_rfc() -> None:
    assert batches.crc32c(bytes(32)) == 0x8A9136AA
    assert batches.crc32c(b"123456789") == 0xE3069283


def test_varints() -> None:
    numbers = (0, -1, 1, -64, 64, 2**63 - 1, -(2**63))
    expected = ["00", "01", "02", "7f", "8001", "feffffffffffffffff01", "ffffffffffffffffff01"]
    assert [batches.varint(number).hex() for number in numbers] == expected


@pytest.mark.parametrize("codec", batches.CODECS)
def test_aiokafka_reads_our_batches(codec: str) -> None:
    raw = batches.batch(RECORDS, codec)
    assert seen(raw) == plain(RECORDS)
    assert DefaultRecordBatch(raw).compression_type == batches.CODECS[codec]


def test_a_zstd_stream_does_not_say_how_long_it_is() -> None:
    # https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.1: no single segment, no content size
    assert batches.compress(b"x" * 1000, "zstd-stream")[4] & 0b1110_0000 == 0


def test_several_batches_in_one_buffer() -> None:
    raw = b"".join(streams.cut(RECORDS, [1, 2], ["gzip", "none"]))
    assert seen(raw) == plain(RECORDS)


def test_wrong_crc() -> None:
    assert not DefaultRecordBatch(batches.batch(RECORDS, wrong_crc=True)).validate_crc()


def test_a_compacted_batch_keeps_its_first_and_last_offset() -> None:
    raw = batches.batch(RECORDS[1:2], base_offset=5, last_offset=400)
    batch = DefaultRecordBatch(raw)
    assert (batch.base_offset, batch.next_offset) == (5, 401)
    assert seen(raw) == plain(RECORDS[1:2])
    assert seen(batches.batch([], base_offset=5, last_offset=6)) == []


def test_transactions() -> None:
    data = DefaultRecordBatch(batches.batch(RECORDS, attributes=batches.TRANSACTIONAL, producer_id=3))
    assert (data.is_transactional, data.is_control_batch, data.producer_id) == (True, False, 3)
    marker = DefaultRecordBatch(batches.control_batch(302, 3, commit=False))
    assert marker.validate_crc()
    assert (marker.is_transactional, marker.is_control_batch, marker.producer_id) == (True, True, 3)
    assert [record.key for record in marker] == [b"\0\0\0\0"]


OLD = [(0, "none"), (0, "gzip"), (0, "snappy"), (1, "none"), (1, "gzip"), (1, "snappy"), (1, "lz4")]


# v0 with LZ4 is left out: its frames have a broken header checksum, which nothing here writes.
@pytest.mark.parametrize(("magic", "codec"), OLD)
def test_aiokafka_reads_our_old_message_sets(magic: int, codec: str) -> None:
    records = [record._replace(headers=()) for record in RECORDS]
    found = seen(batches.message_set(records, codec, magic=magic))
    assert [row[:3] for row in found] == [row[:3] for row in plain(records)]
    assert [row[3] for row in found] == [record.timestamp if magic else None for record in records]


# --- logs


def test_a_seed_is_a_log() -> None:
    assert streams.random_log(3, 200) == streams.random_log(3, 200)
    assert streams.random_log(3, 200) != streams.random_log(4, 200)


def test_random_batches_hold_the_log() -> None:
    log = streams.random_log(5, 2_000, bad=0.1)
    for place, raw in streams.random_batches(log, 6).items():
        assert seen(b"".join(raw)) == plain(log[place])


def test_a_customer_stays_in_one_partition_number() -> None:
    places: dict[bytes | None, set[int]] = {}
    for (_, number), records in streams.random_log(8, 500, partitions=4, bad=0).items():
        for record in records:
            places.setdefault(record.key, set()).add(number)
    assert {len(numbers) for numbers in places.values()} == {1}


@settings(max_examples=25, deadline=None)
@given(st.data(), streams.logs(partitions=2))
def test_drawn_cuts_hold_the_log(data: st.DataObject, log: Log) -> None:
    for place, raw in data.draw(streams.cuts(log)).items():
        assert seen(b"".join(raw)) == plain(log[place])
