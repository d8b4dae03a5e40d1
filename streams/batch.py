"""Step 2: one raw record batch as the broker stored it, decompressed and checked."""

from __future__ import annotations

import gzip
import struct
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any

import cramjam
import numpy as np
from aiokafka.record.util import calc_crc32c

from .errors import Fatal, Poison

# https://kafka.apache.org/documentation/#recordbatch
HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = HEADER.size  # 61
CRC_FROM = 21  # the checksum covers everything after itself
# seven parts of at least a byte each: no batch makes us reserve more than it can fill
SMALLEST_RECORD_BYTES = 7

CODEC_MASK, TIMESTAMP_TYPE, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20


@dataclass(slots=True)
class RawBatch:
    """A record batch of one partition. `count` 0 = nothing to fold (control, aborted): only offsets move.

    `buf: uint8[:]` holds the records (decompressed, without the header); `first` is the lowest offset
    that is still wanted; `next_offset` the one after the batch; `columns`: its records as
    `streams.columns.Columns`, once decoded; `closed`: its bytes as they came, until `open_batch`; `lock`: held
    while it is opened and decoded; `error` says why none of its records can be read although the checksum holds.
    """

    base_offset: int
    count: int
    first: int
    next_offset: int
    append_time_ms: int
    buf: Any
    error: str = ""
    columns: Any = None
    closed: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def offset(self) -> int:
        """The last offset: the one Faust knows this message by."""
        return self.next_offset - 1


EMPTY = np.empty(0, np.uint8)


def parse_batch(data: memoryview | bytes, *, first: int, check_crc: bool = True) -> RawBatch:
    """Read one v2 record batch. Raises `Poison` when it is damaged, `Fatal` for the formats before v2."""
    batch = read_header(data, first=first)
    open_batch(batch, check_crc=check_crc)
    return batch


def read_header(data: memoryview | bytes, *, first: int) -> RawBatch:
    """The batch with its offsets, still closed: `open_batch` checks and decompresses it."""
    if len(data) < 17 or data[16] != 2:
        raise Fatal(
            f"a record batch of message format v{data[16] if len(data) > 16 else '?'} was found; "
            "only v2 (Kafka 0.11 and later) is read: let the broker convert the topic (log.message.format.version)"
        )
    if len(data) < HEADER_BYTES:
        raise Poison(f"a record batch of {len(data)} bytes is shorter than its header")
    header = HEADER.unpack_from(data, 0)
    base, last_delta, max_time_ms = header[0], header[6], header[8]
    return RawBatch(base, 0, first, base + last_delta + 1, max_time_ms, EMPTY, closed=data)


def open_batch(batch: RawBatch, *, check_crc: bool = True) -> None:
    """Fill `count` and `buf`, or `error`. Raises `Poison` when the checksum does not hold."""
    data = batch.closed
    if data is None:
        return
    header = HEADER.unpack_from(data, 0)
    crc, attributes, count = header[4], header[5], header[12]
    unsigned = crc == 0 and attributes & CONTROL  # so the embedded broker ends transactions
    if check_crc and not unsigned and calc_crc32c(data[CRC_FROM:]) != crc:
        raise Poison(f"a record batch at offset {batch.base_offset} does not match its checksum")
    batch.closed = None  # from here on it is known: a damaged one stays closed, whoever opens it
    if attributes & CONTROL:
        return
    try:
        body = decompress(attributes & CODEC_MASK, data[HEADER_BYTES:])
        if not 0 <= count * SMALLEST_RECORD_BYTES <= len(body):
            raise Poison(f"the batch claims {count} records in {len(body)} bytes")
    except Poison as error:
        batch.error = str(error)
        return
    batch.count, batch.buf = count, np.frombuffer(body, np.uint8)


def skipped(batch_base: int, next_offset: int) -> RawBatch:
    """A batch that moves the position without holding records (aborted transactions)."""
    return RawBatch(batch_base, 0, batch_base, next_offset, -1, EMPTY)


def decompress(codec: int, body: memoryview | bytes) -> Any:
    """Undo Kafka's codecs: 0 none, 1 gzip, 2 snappy (raw or Java's framing), 3 lz4 frames, 4 zstd."""
    if codec == 0:
        return body
    try:
        if codec == 1:
            return _gunzip(bytes(body))
        if codec == 2:
            return _unsnappy(bytes(body))
        if codec == 3:
            return cramjam.lz4.decompress(body)
        if codec == 4:
            return cramjam.zstd.decompress(body)
    except (cramjam.DecompressionError, OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise Poison(f"the batch does not decompress: {error}") from error
    raise Poison(f"the batch names codec {codec}, which Kafka does not have")


def _gunzip(body: bytes) -> bytes:
    return gzip.decompress(body)


_XERIAL = b"\x82SNAPPY\x00"


def _unsnappy(body: bytes) -> Any:
    """Snappy as librdkafka writes it (one raw block) or as Java does (xerial framing: 16-byte header, blocks)."""
    if not body.startswith(_XERIAL):
        return cramjam.snappy.decompress_raw(body)
    parts = []
    p = 16
    while p < len(body):
        (size,) = struct.unpack_from(">i", body, p)
        if size < 0 or size > len(body) - p - 4:
            raise ValueError("a snappy block reaches past the batch")
        parts.append(bytes(cramjam.snappy.decompress_raw(body[p + 4 : p + 4 + size])))
        p += 4 + size
    return b"".join(parts)
