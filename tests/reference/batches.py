"""Raw record batches, byte by byte, as a broker stores them.

Format: https://kafka.apache.org/documentation/#recordbatch and, for the old ones, #messageset.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence

import cramjam

from tests.reference.record import Record

# "snappy" is the xerial framing that Java writes, "snappy-raw" one bare block as other clients write it;
# "zstd-stream" has no content size in its frame, as Java's streaming writer leaves it out.
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "snappy-raw": 2, "lz4": 3, "zstd": 4, "zstd-stream": 4}
TRANSACTIONAL = 0x10
CONTROL = 0x20
LOG_APPEND_TIME = 0x08
XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
XERIAL_BLOCK_BYTES = 32 * 1024


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC32C = _crc32c_table()


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC: https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4"""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number: int) -> bytes:
    """Zigzag, then seven bits a byte, the lowest first."""
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def encode_record(record: Record, base_offset: int, base_timestamp: int) -> bytes:
    body = b"\0" + varint(record.timestamp - base_timestamp) + varint(record.offset - base_offset)
    body += _sized(record.key) + _sized(record.value) + varint(len(record.headers))
    for name, value in record.headers:
        body += _sized(name.encode()) + _sized(value)
    return varint(len(body)) + body


def compress(data: bytes, codec: str) -> bytes:
    match codec:
        case "none":
            return data
        case "gzip":
            return gzip.compress(data, 1)
        case "snappy":
            return XERIAL + b"".join(
                struct.pack(">i", len(block)) + block for block in map(snappy_block, blocks(data))
            )
        case "snappy-raw":
            return snappy_block(data)
        case "lz4":
            return bytes(cramjam.lz4.compress(data))
        case "zstd":
            return bytes(cramjam.zstd.compress(data))
        case "zstd-stream":
            stream = cramjam.zstd.Compressor()
            stream.compress(data)
            return bytes(stream.finish())
    raise ValueError(f"unknown codec {codec!r}")


def blocks(data: bytes) -> list[bytes]:
    return [data[at : at + XERIAL_BLOCK_BYTES] for at in range(0, len(data), XERIAL_BLOCK_BYTES)]


def snappy_block(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


def batch(
    records: Sequence[Record],
    codec: str = "none",
    *,
    base_offset: int | None = None,
    last_offset: int | None = None,
    attributes: int = 0,
    producer_id: int = -1,
    wrong_crc: bool = False,
    count: int | None = None,
    append_time: int | None = None,
) -> bytes:
    """One batch in format v2. Offsets are the records' own, so gaps stay as compaction leaves them.

    Compaction keeps a batch's first and last offset when the records there go: give `base_offset` and
    `last_offset` for that, and for a batch without records. `count` lies about the number of records.
    `append_time`: the broker noted when it came (log append time), whatever the records themselves say.
    """
    first = records[0].offset if base_offset is None else base_offset
    last = records[-1].offset if last_offset is None else last_offset
    base_timestamp = records[0].timestamp if records else 0
    highest_timestamp = max((record.timestamp for record in records), default=0)
    if append_time is not None:
        attributes, highest_timestamp = attributes | LOG_APPEND_TIME, append_time
    body = b"".join(encode_record(record, first, base_timestamp) for record in records)
    after_crc = struct.pack(
        ">hiqqqhii",
        attributes | CODECS[codec],
        last - first,
        base_timestamp,
        highest_timestamp,
        producer_id,
        0 if producer_id >= 0 else -1,
        0 if producer_id >= 0 else -1,
        len(records) if count is None else count,
    ) + compress(body, codec)
    crc = crc32c(after_crc) ^ (1 if wrong_crc else 0)
    after_length = struct.pack(">ibI", 0, 2, crc) + after_crc
    return struct.pack(">qi", first, len(after_length)) + after_length


def control_batch(offset: int, producer_id: int, *, commit: bool, timestamp: int = 0) -> bytes:
    """The marker that ends a transaction: one record, its key (version, type), its value (version, epoch)."""
    key = struct.pack(">hh", 0, 1 if commit else 0)
    marker = Record("", 0, offset, key, struct.pack(">hi", 0, 0), timestamp)
    return batch([marker], attributes=TRANSACTIONAL | CONTROL, producer_id=producer_id)


def message_set(records: Sequence[Record], codec: str = "none", *, magic: int = 1) -> bytes:
    """The formats before 0.11: v0 (no timestamp) and v1. With a codec, one message wraps all others."""
    if codec == "none":
        return b"".join(_message(r.offset, r.key, r.value, r.timestamp, magic, 0) for r in records)
    base = records[0].offset if magic == 1 else 0  # v1 counts inner offsets from 0, v0 has them absolute
    inner = b"".join(_message(r.offset - base, r.key, r.value, r.timestamp, magic, 0) for r in records)
    highest_timestamp = max(record.timestamp for record in records)
    wrapped = compress(inner, codec)
    return _message(records[-1].offset, None, wrapped, highest_timestamp, magic, CODECS[codec])


def _message(
    offset: int, key: bytes | None, value: bytes | None, timestamp: int, magic: int, attributes: int
) -> bytes:
    body = struct.pack(">bb", magic, attributes)
    if magic == 1:
        body += struct.pack(">q", timestamp)
    for part in (key, value):
        body += struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part
    body = struct.pack(">I", zlib.crc32(body)) + body
    return struct.pack(">qi", offset, len(body)) + body
