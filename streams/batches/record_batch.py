"""Step 2: reads one raw record batch as the broker stored it: checks and decompresses it."""

from __future__ import annotations

import struct
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any

import cramjam
import numpy as np
from aiokafka.record.util import calc_crc32c

from streams.errors import Fatal, Poison

# https://kafka.apache.org/documentation/#recordbatch
HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = HEADER.size  # 61
LENGTH, LENGTH_AT = struct.Struct(">i"), 8
CRC_FROM = 21  # the checksum covers everything after itself
# seven parts of at least a byte each: a batch cannot claim more records than its bytes can hold
SMALLEST_RECORD_BYTES = 7
# A batch beyond these is an attempt to fill memory: a broker takes a megabyte, and the codecs shrink zeros 1000 times.
LARGEST_BATCH_BYTES = 128 << 20
LARGEST_BATCH_RECORDS = 1 << 20  # also the most that librdkafka puts in one

CODEC_MASK, TIMESTAMP_TYPE, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20


@dataclass(slots=True)
class RawBatch:
    """A record batch of one partition. `count` 0 = nothing to fold (control, aborted): only offsets advance.

    `buf: uint8[:]` holds the records (decompressed, without the header); `first` is the lowest offset that is still
    wanted; `next_offset` follows the batch's last one; `columns` are its records as `streams.batches.columns.Columns`,
    once decoded; `closed` is the batch as it came, until `open_batch`; the thread that opens and decodes it holds
    `lock`; `error` says why none of its records can be read although the checksum is right.
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
        """The last offset, which Faust takes for the offset of its message."""
        return self.next_offset - 1


EMPTY = np.empty(0, np.uint8)


def parse_batch(data: memoryview | bytes, *, first: int, check_crc: bool = True) -> RawBatch:
    """Read one v2 record batch. Raises `Poison` when it is damaged, `Fatal` for the formats before v2."""
    batch = read_header(data, first=first)
    open_batch(batch, check_crc=check_crc)
    return batch


def read_header(data: memoryview | bytes, *, first: int) -> RawBatch:
    """Read a batch's offsets and leave it closed: `open_batch` checks and decompresses it."""
    length = LENGTH.unpack_from(data, LENGTH_AT)[0] if len(data) >= LENGTH_AT + LENGTH.size else -1
    if length + LENGTH_AT + LENGTH.size != len(data):
        raise Poison(f"a record batch of {len(data)} bytes claims {length} behind its length")
    if len(data) < 17 or data[16] != 2:
        raise Fatal(
            f"a record batch of message format v{data[16] if len(data) > 16 else '?'} was found; "
            "only v2 (Kafka 0.11 and later) is read: let the broker convert the topic (log.message.format.version)"
        )
    if len(data) < HEADER_BYTES:
        raise Poison(f"a record batch of {len(data)} bytes is shorter than its header")
    header = HEADER.unpack_from(data, 0)
    base, last_delta, max_time_ms = header[0], header[6], header[8]
    if base < 0 or last_delta < 0:  # each next fetch would begin at the same place, for ever
        raise Poison(f"a record batch claims the offsets {base} to {base + last_delta}")
    return RawBatch(base, 0, first, base + last_delta + 1, max_time_ms, EMPTY, closed=data)


def open_batch(batch: RawBatch, *, check_crc: bool = True) -> None:
    """Fill in `count` and `buf`, or `error`. Raises `Poison` when the checksum is wrong."""
    data = batch.closed
    if data is None:
        return
    header = HEADER.unpack_from(data, 0)
    crc, attributes, count = header[4], header[5], header[12]
    unsigned = crc == 0 and attributes & CONTROL  # the embedded broker ends transactions without a checksum
    if check_crc and not unsigned and calc_crc32c(data[CRC_FROM:]) != crc:
        raise Poison(f"a record batch at offset {batch.base_offset} does not match its checksum")
    batch.closed = None  # not before: a damaged batch stays closed and fails for every caller
    if attributes & CONTROL:
        return
    try:
        body = decompress(attributes & CODEC_MASK, data[HEADER_BYTES:])
        if not 0 <= count * SMALLEST_RECORD_BYTES <= len(body):
            raise Poison(f"the batch claims {count} records in {len(body)} bytes")
        if count > min(LARGEST_BATCH_RECORDS, batch.next_offset - batch.base_offset):
            span = batch.next_offset - batch.base_offset
            raise Poison(
                f"the batch claims {count} records at {span} offsets, or more than {LARGEST_BATCH_RECORDS}"
            )
    except Poison as error:
        batch.error = str(error)
        return
    # read-only whatever the codec was: kernels are compiled once for read-only bytes and once more for others
    batch.count, batch.buf = count, np.frombuffer(memoryview(body).toreadonly(), np.uint8)


def skipped(batch_base: int, next_offset: int) -> RawBatch:
    """Make a batch without records that advances the position (aborted transactions)."""
    return RawBatch(batch_base, 0, batch_base, next_offset, -1, EMPTY)


def decompress(codec: int, body: memoryview | bytes) -> Any:
    """Undo Kafka's codecs: 0 none, 1 gzip, 2 snappy (raw or Java's framing), 3 lz4 frames, 4 zstd."""
    if codec == 0:
        return body
    try:
        if codec == 1:
            return _gunzip(body)
        if codec == 2:
            return _unsnappy(bytes(body))
        if codec == 3:
            return _within(cramjam.lz4, body, LZ4_RATIO)
        if codec == 4:
            return _within(cramjam.zstd, body, ZSTD_RATIO)
    except (cramjam.DecompressionError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise Poison(f"the batch does not decompress: {error}") from error
    raise Poison(f"the batch names codec {codec}, which Kafka does not have")


# the most that a byte can become: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md, a byte of 255 lengths;
# https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.2, a block of 4 bytes for 128 kB
LZ4_RATIO, ZSTD_RATIO = 255, 32768
USUAL_RATIO = 24


def _within(codec: Any, body: memoryview | bytes, ratio: int) -> Any:
    """Decompress to at most `LARGEST_BATCH_BYTES`; without a copy when the codec's ratio bounds the size."""
    if ratio * len(body) <= LARGEST_BATCH_BYTES:
        return codec.decompress(body)
    for room in (min(USUAL_RATIO * len(body), LARGEST_BATCH_BYTES), LARGEST_BATCH_BYTES):
        space = np.empty(room, np.uint8)
        try:
            return space[: codec.decompress_into(body, space)].tobytes()
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):  # the data are damaged; otherwise the room was too small
                raise
    raise _too_large()


def _too_large() -> ValueError:
    return ValueError(f"it holds more than {LARGEST_BATCH_BYTES >> 20} MB")


def _gunzip(body: memoryview | bytes) -> bytes:
    parts = []
    left = LARGEST_BATCH_BYTES
    while body:  # one member after another
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(body, left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise _too_large()
        if not member.eof:
            raise EOFError("it ends too early")
        body = member.unused_data
    return b"".join(parts)


_XERIAL = b"\x82SNAPPY\x00"


def _unsnappy(body: bytes) -> Any:
    """Snappy as librdkafka writes it (one raw block) or as Java does (xerial framing: 16-byte header, blocks)."""
    if not body.startswith(_XERIAL):
        return _unsnappy_block(body, LARGEST_BATCH_BYTES)
    parts = []
    p = 16
    left = LARGEST_BATCH_BYTES
    while p < len(body):
        (size,) = struct.unpack_from(">i", body, p)
        if size < 0 or size > len(body) - p - 4:
            raise ValueError("a snappy block reaches past the batch")
        parts.append(bytes(_unsnappy_block(body[p + 4 : p + 4 + size], left)))
        left -= len(parts[-1])
        p += 4 + size
    return b"".join(parts)


def _unsnappy_block(block: bytes, most: int) -> Any:
    """Decompress a raw block, whose claimed length must not exceed `most`: nothing larger is reserved for it."""
    if cramjam.snappy.decompress_raw_len(block) > most:
        raise _too_large()
    return cramjam.snappy.decompress_raw(block)
