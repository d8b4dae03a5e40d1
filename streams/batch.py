"""Step 2: one raw record batch as the broker stored it, decompressed and checked."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cramjam
import numpy as np
from aiokafka.record.util import calc_crc32c

from .errors import Fatal, Poison

# https://kafka.apache.org/documentation/#recordbatch
HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = HEADER.size  # 61
CRC_FROM = 21  # the checksum covers everything after itself
MAX_BATCH_BYTES = 256 << 20  # decompressed; beyond this a batch is a bomb, not data

CODEC_MASK, TIMESTAMP_TYPE, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20


@dataclass(slots=True, frozen=True)
class RawBatch:
    """A record batch of one partition. `count` 0 = nothing to fold (control, aborted): only offsets move.

    `buf: uint8[:]` holds the records (decompressed, without the header); `first` is the lowest offset
    that is still wanted; `next_offset` the one after the batch; `error` says why none of its records can be read although the checksum holds.
    """

    base_offset: int
    count: int
    first: int
    next_offset: int
    append_time_ms: int
    buf: Any
    error: str = ""

    @property
    def offset(self) -> int:
        """The last offset: the one Faust knows this message by."""
        return self.next_offset - 1


EMPTY = np.empty(0, np.uint8)


def parse_batch(data: memoryview | bytes, *, first: int, check_crc: bool = True) -> RawBatch:
    """Read one v2 record batch. Raises `Poison` when it is damaged, `Fatal` for the formats before v2."""
    if len(data) < 17 or data[16] != 2:
        raise Fatal(
            f"a record batch of message format v{data[16] if len(data) > 16 else '?'} was found; "
            "only v2 (Kafka 0.11 and later) is read: let the broker convert the topic (log.message.format.version)"
        )
    if len(data) < HEADER_BYTES:
        raise Poison(f"a record batch of {len(data)} bytes is shorter than its header")
    base, _length, _epoch, _magic, crc, attributes, last_delta, _first_ts, max_ts, _pid, _pe, _seq, count = (
        HEADER.unpack_from(data, 0)
    )
    if check_crc and calc_crc32c(data[CRC_FROM:]) != crc:
        raise Poison(f"a record batch at offset {base} does not match its checksum")
    if attributes & CONTROL:
        return RawBatch(base, 0, first, base + last_delta + 1, max_ts, EMPTY)
    try:
        body = decompress(attributes & CODEC_MASK, data[HEADER_BYTES:])
        if not 0 <= count <= len(body):
            raise Poison(f"the batch claims {count} records in {len(body)} bytes")
    except Poison as error:
        return RawBatch(base, 0, first, base + last_delta + 1, max_ts, EMPTY, str(error))
    return RawBatch(base, count, first, base + last_delta + 1, max_ts, np.frombuffer(body, np.uint8))


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
    except (cramjam.DecompressionError, OSError, EOFError, zlib.error, ValueError) as error:
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
