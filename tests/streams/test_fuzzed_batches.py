"""Record batches whose own bytes are spoilt, their checksums right: never a crash, and the batches around them stay."""

from __future__ import annotations

import gzip
import random
import resource
import struct
from collections import Counter
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import calc_crc32c

import streams.batches.record_batch as raw
from streams.batches.columns import decode_columns
from streams.batches.record_batch import LARGEST_BATCH_BYTES, LARGEST_BATCH_RECORDS, open_batch, parse_batch
from streams.batches.records import records as records_of
from streams.engine.engine import DAMAGED
from streams.errors import Fatal, Poison
from streams.transport.raw_records import RawPartitionRecords
from tests.doubles import Rig
from tests.reference import batches, streams
from tests.reference.record import Record
from tests.streams.fuzz import HUGE, good

COUNT = 8_000
TOPIC = "web.events"
AT = TopicPartition(TOPIC, 0)
CRC_AT, CRC_FROM = 17, 21
BODY_FROM = raw.HEADER_BYTES
RECORDS = 4
# offset in the header, format: base offset, length, attributes, last offset delta, first and max time, producer, count
FIELDS = ((0, ">q"), (8, ">i"), (21, ">h"), (23, ">i"), (27, ">q"), (35, ">q"), (43, ">q"), (57, ">i"))


def some(first: int, key: bytes = b"customer") -> list[Record]:
    return [r._replace(offset=first + n, key=key) for n, r in enumerate(good()[TOPIC][:RECORDS])]


def summed(data: bytes) -> bytes:
    """The same batch with a checksum that fits."""
    return data[:CRC_AT] + struct.pack(">I", calc_crc32c(data[CRC_FROM:])) + data[CRC_FROM:]


def spoil(draw: random.Random, data: bytes) -> bytes:
    """One batch with something of it wrong; only its length is right in most cases, or all behind it was lost."""
    damaged = bytearray(data)
    at = draw.randrange(BODY_FROM, len(damaged))
    match draw.randrange(7):
        case 0:  # flipped bits in the body
            for _ in range(draw.choice((1, 1, 2, 8))):
                damaged[draw.randrange(BODY_FROM, len(damaged))] ^= 1 << draw.randrange(8)
        case 1:  # and anywhere behind the length
            damaged[draw.randrange(12, len(damaged))] ^= 1 << draw.randrange(8)
        case 2:  # cut short
            del damaged[at:]
        case 3:  # a huge or negative length, offset, count within
            damaged[at : at + 1] = draw.choice(HUGE)
        case 4:  # an absurd header
            place, form = draw.choice(FIELDS)
            bits = 8 * struct.calcsize(form) - 1
            number = draw.choice(
                (0, 1, -1, 2, RECORDS + 1, 2**bits - 1, -(2**bits), draw.randint(-(2**bits), 2**bits - 1))
            )
            struct.pack_into(form, damaged, place, number)
            if place == 8:
                return bytes(damaged)
        case 5:  # a codec that does not fit, or that there is not
            damaged[22] = damaged[22] & ~7 | draw.randrange(8)
        case 6:  # bytes too many
            damaged += draw.choice((b"\0", bytes(9), draw.randbytes(40)))
    struct.pack_into(">i", damaged, 8, len(damaged) - 12)
    return summed(bytes(damaged))


def fetched(buffer: bytes, offset: int = 0, end: int = 3 * RECORDS) -> RawPartitionRecords:
    """What a fetch from `offset` on brought of a log that ends at `end`."""
    found = RawPartitionRecords(AT, _MemoryRecordsPy(buffer), None, offset, None, None, True, 1)
    found.end_at(end)
    return found


def test_a_spoilt_batch_is_refused_or_dead_lettered_and_the_ones_around_it_are_folded() -> None:
    """The one before it always; the one behind unless the error says where it stopped."""
    draw = random.Random(9)
    rig = Rig()
    before, behind = b"before", b"behind"
    ends: Counter[str] = Counter()
    reasons: set[str] = set()
    for _ in range(COUNT):
        spoilt = spoil(draw, batches.batch(some(RECORDS), draw.choice(list(batches.CODECS))))
        buffer = batches.batch(some(0, before)) + spoilt + batches.batch(some(2 * RECORDS, behind))
        rig.engine.partitions.clear()
        rig.outputs.sent.clear()
        partition = rig.live(0)
        error = handed_over(rig, buffer)
        letters = rig.dead_letters()
        reasons |= {letter["reason"] for letter in letters}
        ends["refused" if error else "dead letter" if letters else "read"] += 1
        # of two that overlap nobody knows which is right
        assert partition.index.find(before) is not None or (error is not None and error.offset == 0)
        if error is not None:
            assert (error.topic, error.partition) == (TOPIC, 0)
            assert str(error).startswith(f"{TOPIC}[0]@{error.offset}: ")
        elif partition.index.find(behind) is None:
            # one that claims to be longer than the fetch ends it there, and is fetched again with more
            assert partition.positions[0] == RECORDS
            ends["cut off"] += 1
    assert min(ends.values()) > COUNT // 1000, ends
    assert (
        rig.engine.counters.reasons[DAMAGED] > COUNT // 2
    )  # one reason in the metrics, whatever the letters say
    assert any("does not decompress" in reason for reason in reasons)
    assert any("codec" in reason for reason in reasons)
    assert "the records of the batch overlap or end early" in reasons


def handed_over(rig: Rig, buffer: bytes) -> Fatal | Poison | None:
    """What a fetch brought goes through the engine, batch by batch; the error that ends it, if any."""
    try:
        for batch in fetched(buffer):
            rig.engine.on_batch(TOPIC, 0, batch)
    except (Fatal, Poison) as error:
        return error
    return None


def test_records_of_the_roles_that_read_one_by_one() -> None:
    draw = random.Random(10)
    ends: Counter[str] = Counter()
    for _ in range(COUNT):
        spoilt = spoil(draw, batches.batch(some(0), draw.choice(list(batches.CODECS))))
        try:
            batch = parse_batch(spoilt, first=0)
            offsets = [offset for offset, _, _ in records_of(batch)]
        except (Fatal, Poison):
            ends["refused"] += 1
            continue
        ends["read"] += 1
        assert offsets == sorted(set(offsets))
        assert all(batch.base_offset <= offset < batch.next_offset for offset in offsets)
    assert min(ends["read"], ends["refused"]) > COUNT // 20


@pytest.mark.parametrize(
    "deltas", [(0, 1, 1, 2), (0, 2, 1, 3), (-1, 0, 1, 2), (0, 1, 2, 4), (0, 1, 2, 2**62)]
)
def test_offsets_that_do_not_rise_within_the_batch_are_those_of_no_broker(deltas: tuple[int, ...]) -> None:
    """A record far ahead would let its customer skip all events up to there."""
    records = [r._replace(offset=delta) for r, delta in zip(some(0), deltas, strict=True)]
    batch = parse_batch(batches.batch(records, base_offset=0, last_offset=RECORDS - 1), first=0)
    rig = Rig()
    rig.live(0)
    rig.engine.on_batch(TOPIC, 0, batch)
    (letter,) = rig.dead_letters()
    assert (letter["offset"], letter["reason"]) == (0, "the records of the batch overlap or end early")
    with pytest.raises(Poison, match="overlap or end early"):
        records_of(parse_batch(batches.batch(records, base_offset=0, last_offset=RECORDS - 1), first=0))


@pytest.mark.parametrize("delta", [-1, -(2**31)])
def test_a_batch_that_ends_before_it_begins_is_refused(delta: int) -> None:
    """Its next offset would be the one it was fetched at: for ever."""
    data = bytearray(batches.batch(some(5)))
    struct.pack_into(">i", data, 23, delta)
    with pytest.raises(
        Poison, match=rf"web\.events\[0\]@5: a record batch claims the offsets 5 to {5 + delta}"
    ):
        list(RawPartitionRecords(AT, _MemoryRecordsPy(summed(bytes(data))), None, 5, None, None, True, 1))


BOMBS: dict[str, Any] = {
    "gzip": lambda zeros: gzip.compress(zeros, 1),
    "snappy-raw": lambda zeros: bytes(cramjam.snappy.compress_raw(zeros)),
    "snappy": lambda zeros: (
        batches.XERIAL + 3 * _block(bytes(cramjam.snappy.compress_raw(zeros[: len(zeros) // 2])))
    ),
    "lz4": lambda zeros: bytes(cramjam.lz4.compress(zeros)),
    "zstd": lambda zeros: bytes(cramjam.zstd.compress(zeros)),
}


def _block(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


@pytest.mark.parametrize("codec", BOMBS)
def test_a_batch_that_grows_beyond_all_bounds_is_an_error_and_takes_no_memory(codec: str) -> None:
    bomb = BOMBS[codec](bytes(LARGEST_BATCH_BYTES + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "compress", lambda *_: bomb)
        patch.setattr(batches, "crc32c", calc_crc32c)
        data = batches.batch(some(0), codec)
    before = _peak_bytes()
    batch = parse_batch(data, first=0)
    assert (batch.count, batch.next_offset) == (0, RECORDS)
    assert batch.error == "the batch does not decompress: it holds more than 128 MB"
    assert _peak_bytes() - before < 3 * LARGEST_BATCH_BYTES


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("codec", batches.CODECS)
def test_what_is_just_large_is_read_whole(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound, and where a codec shrinks more than is usual."""
    monkeypatch.setattr(batches, "crc32c", calc_crc32c)
    monkeypatch.setattr(raw, "LARGEST_BATCH_BYTES", 1 << 20)
    body = len(batches.encode_record(Record("t", 0, 0, b"k", bytes(1 << 19), 0), 0, 0)) - (1 << 19)
    fits = [
        Record("t", 0, 0, b"k", bytes((1 << 20) - body - 2), 0)
    ]  # lengths of over 2^19 take a byte more, twice
    assert len(batches.encode_record(fits[0], 0, 0)) in range((1 << 20) - 3, (1 << 20) + 1)
    assert parse_batch(batches.batch(fits, codec), first=0).error == ""
    if codec == "none":
        return
    over = [Record("t", 0, 0, b"k", bytes(1 << 20), 0)]
    assert "holds more than" in parse_batch(batches.batch(over, codec), first=0).error


def test_more_records_than_anybody_puts_in_a_batch_reserve_nothing() -> None:
    count = LARGEST_BATCH_RECORDS + 1
    body = batches.encode_record(Record("t", 0, 0, None, None, 0), 0, 0) * count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "compress", lambda *_: bytes(cramjam.zstd.compress(body)))
        data = batches.batch([], "zstd", base_offset=0, last_offset=count - 1, count=count)
    batch = parse_batch(data, first=0)
    assert (batch.count, batch.error) == (
        0, f"the batch claims {count} records at {count} offsets, or more than {LARGEST_BATCH_RECORDS}",
    )  # fmt: skip


def test_a_checksum_that_does_not_hold_says_where() -> None:
    rig = Rig()
    (batch,) = fetched(batches.batch(some(7), wrong_crc=True), 7)
    with pytest.raises(
        Poison, match=r"^web\.events\[0\]@7: a record batch at offset 7 does not match its checksum"
    ):
        rig.engine.on_batch(TOPIC, 0, batch)
    with pytest.raises(Poison):
        open_batch(batch)
    assert batch.columns is None


def test_an_opened_batch_is_decoded_to_what_it_holds() -> None:
    """What the cases above stand on: untouched, all its records are events."""
    batch = parse_batch(batches.batch(some(0)), first=0)
    columns = decode_columns(batch, Rig().work.programs[list(streams.TOPICS).index(TOPIC)])
    assert (columns.count, columns.bad) == (RECORDS, 0)
