"""Step 3, second half: the kernel that runs an Avro program over the records of a batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from streams.kernels import MASK52, hash64, inlined, inner, is_ascii, kernel, read_varint, valid_utf8

from .compiler import (
    BITS,
    BLOCK,
    BOOL,
    BYTES,
    CONSTANT,
    COUNT,
    DECIMAL,
    DOUBLE,
    END,
    ENUM,
    FIXED,
    FLOAT,
    JUMP,
    KIND,
    LONG,
    LOOP,
    MESSAGE_ID,
    SKIP_NULL,
    STRING,
    SUM,
    TALLY,
    TIME,
    UNION,
    ZERO,
    AvroProgram,
)

OK, NO_KEY, NO_VALUE, NOT_FRAMED, UNKNOWN_SCHEMA, MALFORMED, OUT_OF_BOUNDS, BAD_TIME, BAD_KEY = range(9)
REASONS = (
    "",
    "the key is null, empty or starts with a zero byte",
    "the value is null",
    "the value is not framed (magic byte 0 and a schema id)",
    "the schema id is not one of this topic",
    "the body does not decode with its schema",
    "a field is out of its bounds",
    "the time is before 1990, after 2100 or more than a day after its append",
    "the key is longer than 1024 bytes or not UTF-8",
)
MAX_KEY_BYTES = 1024
EARLIEST_MS = 631_152_000_000.0  # 1990-01-01
LATEST_MS = 4_102_444_800_000.0  # 2100-01-01
AHEAD_MS = 86_400_000.0  # a clock this far ahead of the append would fire every deadline of its partition


class DecodedArrays(NamedTuple):
    """The decoded records, n of them.

    times: float64[n], ms; kinds: int32[n], -1 = a kind nobody names; message_ids: int64[n]
    fields: float64[n, f]
    status: uint8[n], OK or an index into `REASONS`; the other values of a bad record mean nothing
    """

    times: Any
    kinds: Any
    message_ids: Any
    fields: Any
    status: Any


@inlined
def _scaled(value: float, scale: float) -> float:
    """Return `value` times `scale`, or divided by -`scale` if that is negative, which keeps decimals exact."""
    return value * scale if scale > 0.0 else value / -scale


@inlined
def _keep(fields: Any, row: int, destination: int, mode: int, value: float) -> None:
    if mode == SUM:
        before = fields[row, destination]
        fields[row, destination] = value if np.isnan(before) else before + value
    else:
        fields[row, destination] = value


@inner
def _big_endian(buf: Any, p: int, size: int) -> float:
    """Return a big-endian two's-complement integer (Avro's decimal) as a float64."""
    value = 0.0
    for k in range(size):
        value = value * 256.0 + buf[p + k]
    if size > 0 and buf[p] >= 0x80:
        value -= 256.0**size
    return value


@inlined
def _run(
    buf: Any, p: int, end: int, pc: int, program: AvroProgram, row: int, out: DecodedArrays, left: Any
) -> int:
    """Run one record's program from `pc` over `buf[p:end]`. Returns where it stopped, -1 (malformed) or -2 (NaN)."""
    code, tables, scales = program.code, program.tables, program.scales
    fields = out.fields
    bits = fields.view(np.int64)
    budget = end - p + 1  # items, even those of zero size, may not outnumber the record's bytes
    while True:
        opcode = code[pc, 0]
        destination = code[pc, 1]
        mode = code[pc, 2]
        a = code[pc, 3]
        pc += 1
        if opcode == STRING or opcode == BYTES:
            size, p = read_varint(buf, p, end)
            if p < 0 or size < 0 or size > end - p:
                return -1
            if opcode == STRING:
                if not is_ascii(buf, p, p + size) and not valid_utf8(buf, p, p + size):
                    return -1
            if destination != -1:
                h = hash64(buf, p, size)
                if destination == MESSAGE_ID:
                    out.message_ids[row] = np.int64(h)
                elif mode == BITS:
                    bits[row, destination] |= np.int64(1) << np.int64((h & MASK52) & np.uint64(63))
                else:
                    fields[row, destination] = np.float64(np.int64(h & MASK52))
            p += size
        elif opcode == LONG:
            value, p = read_varint(buf, p, end)
            if p < 0:
                return -1
            if destination == TIME:
                out.times[row] = np.floor(_scaled(value, scales[a]))
            elif destination >= 0:
                _keep(fields, row, destination, mode, _scaled(value, scales[a]))
        elif opcode == DOUBLE:
            if end - p < 8:
                return -1
            if destination >= 0:
                number = buf[p : p + 8].view(np.float64)[0]
                if np.isnan(number):
                    return -2  # NaN marks an absent field; a NaN in a record is no number
                _keep(fields, row, destination, mode, number)
                if mode == SUM and np.isnan(fields[row, destination]):
                    return -2  # infinities that cancel out
            p += 8
        elif opcode == UNION:
            branch, p = read_varint(buf, p, end)
            if p < 0 or branch < 0 or branch >= code[pc - 1, 4]:
                return -1
            pc = tables[a + branch]
        elif opcode == JUMP:
            pc = a
        elif opcode == SKIP_NULL:
            continue
        elif opcode == ENUM:
            symbol, p = read_varint(buf, p, end)
            if p < 0 or symbol < 0 or symbol >= code[pc - 1, 4] or tables[a + symbol] == -2:
                return -1
            if destination == KIND:
                out.kinds[row] = tables[a + symbol]
            elif destination >= 0:
                _keep(fields, row, destination, mode, np.float64(tables[a + symbol]))
        elif opcode == BLOCK:
            depth = code[pc - 1, 4]
            count, p = read_varint(buf, p, end)
            if p >= 0 and count < 0:
                count = -count
                _, p = read_varint(buf, p, end)
            if p < 0 or count < 0 or count > budget:
                return -1
            if count == 0:
                pc = a
            else:
                budget -= count
                left[depth] = count
                if destination >= 0 and mode == COUNT:
                    before = fields[row, destination]
                    fields[row, destination] = count if np.isnan(before) else before + count
        elif opcode == LOOP:
            depth = code[pc - 1, 4]
            left[depth] -= 1
            pc = a if left[depth] > 0 else a - 1  # the next item, or the next block's count
        elif opcode == END:
            return p
        elif opcode == ZERO:
            if np.isnan(fields[row, destination]):
                fields[row, destination] = 0.0
        elif opcode == BOOL:
            if end - p < 1 or buf[p] > 1:
                return -1
            if destination >= 0:
                _keep(fields, row, destination, mode, np.float64(buf[p]))
            p += 1
        elif opcode == FLOAT:
            if end - p < 4:
                return -1
            if destination >= 0:
                number = np.float64(buf[p : p + 4].view(np.float32)[0])
                if np.isnan(number):
                    return -2
                _keep(fields, row, destination, mode, number)
                if mode == SUM and np.isnan(fields[row, destination]):
                    return -2  # infinities that cancel out
            p += 4
        elif opcode == FIXED:
            if end - p < a:
                return -1
            if destination >= 0:
                fields[row, destination] = np.float64(np.int64(hash64(buf, p, a) & MASK52))
            p += a
        elif opcode == DECIMAL:
            size = code[pc - 1, 4]
            if size < 0:
                size, p = read_varint(buf, p, end)
                if p < 0 or size < 0:
                    return -1
            if size > end - p:
                return -1
            if destination >= 0:
                _keep(fields, row, destination, mode, _scaled(_big_endian(buf, p, size), scales[a]))
            p += size
        elif opcode == TALLY:
            before = fields[row, destination]
            fields[row, destination] = 1.0 if np.isnan(before) else before + 1.0
        elif opcode == CONSTANT:
            if mode == BITS:
                bits[row, destination] |= np.int64(1) << (np.int64(scales[a]) & 63)
            else:
                _keep(fields, row, destination, mode, scales[a])
        else:
            return -1


@kernel
def decode(
    buf: Any, count: int, value_at: Any, value_size: Any, key_at: Any, key_size: Any, program: AvroProgram,
    latest_ms: float, out: DecodedArrays, left: Any,
) -> int:  # fmt: skip
    """Decode `count` records of `buf: uint8[:]` into rows 0..count-1 of `out`. Returns how many are bad.

    value_at, value_size, key_at, key_size: int64[n], see `streams.batches.find_records`
    latest_ms: times from here on are bad
    left: int64[MAX_DEPTH], scratch

    >>> from .compiler import Capture, compile_program
    >>> schema = {"type": "record", "name": "sale", "fields": [{"name": "time", "type": "long"}]}
    >>> program = compile_program({7: schema}, schema, {"time": Capture(TIME)}, kinds={}, fields=0)
    >>> buf = np.frombuffer(b"k" + bytes.fromhex("0000000007 80e0bcefa757"), np.uint8)  # key, frame, body
    >>> spans = [np.array([n]) for n in (1, 11, 0, 1)]
    >>> out = DecodedArrays(*(np.zeros(1, t) for t in ("f8", "i4", "i8")), np.zeros((1, 0)), np.zeros(1, "u1"))
    >>> bad = decode(buf, 1, *spans, program, LATEST_MS, out, np.zeros(8, np.int64))
    >>> bad, REASONS[out.status[0]], out.times.tolist()
    (0, '', [1500000000000.0])
    """
    times, fields, status = out.times, out.fields, out.status
    ids, initial, bounds = program.ids, program.initial, program.bounds
    width = fields.shape[1]
    bad = 0
    for i in range(count):
        size = value_size[i]
        if key_size[i] <= 0 or buf[key_at[i]] == 0:  # a zero byte marks the engine's own changelog keys
            status[i] = NO_KEY
            bad += 1
            continue
        key_end = key_at[i] + key_size[i]
        if key_size[i] > MAX_KEY_BYTES or not (
            is_ascii(buf, key_at[i], key_end) or valid_utf8(buf, key_at[i], key_end)
        ):
            status[i] = BAD_KEY
            bad += 1
            continue
        if size < 5:
            status[i] = NO_VALUE if size < 0 else NOT_FRAMED
            bad += 1
            continue
        p = value_at[i]
        if buf[p] != 0:
            status[i] = NOT_FRAMED
            bad += 1
            continue
        schema_id = (
            np.int64(buf[p + 1]) << 24
            | np.int64(buf[p + 2]) << 16
            | np.int64(buf[p + 3]) << 8
            | np.int64(buf[p + 4])
        )
        which = -1
        for s in range(len(ids)):
            if ids[s] == schema_id:
                which = s
                break
        if which < 0:
            status[i] = UNKNOWN_SCHEMA
            bad += 1
            continue
        for f in range(width):
            fields[i, f] = initial[which, f]
        times[i] = np.nan
        out.kinds[i] = -1
        out.message_ids[i] = 0
        stop = _run(buf, p + 5, p + size, program.entry[which], program, i, out, left)
        if stop != p + size:
            status[i] = OUT_OF_BOUNDS if stop == -2 else MALFORMED
            bad += 1
            continue
        status[i] = OK
        for f in range(width):
            value = fields[i, f]
            if value < bounds[f, 0] or value > bounds[f, 1]:
                status[i] = OUT_OF_BOUNDS
        if not (times[i] >= EARLIEST_MS and times[i] < latest_ms):
            status[i] = BAD_TIME
        if status[i] != OK:
            bad += 1
    return bad
