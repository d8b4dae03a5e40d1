"""Step 3: decodes the records of one batch into columns; a thread does so for large ones while the pass folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.avro import AHEAD_MS, LATEST_MS, MAX_DEPTH, AvroProgram, DecodedArrays, decode

from .record_batch import RawBatch
from .records import find_records


@dataclass(slots=True)
class Columns:
    """The `count` records of a batch (-1: it is malformed; use nothing of it), `bad` of them with a status.

    `offsets, message_ids: int64[n]`, `times: float64[n]` ms, `kinds: int32[n]`, `fields: float64[n, f]`,
    `status: uint8[n]` (see `streams.avro.decoder`); `key_at, key_size, value_at, value_size: int64[n]` in the batch's
    bytes.
    """

    count: int
    bad: int
    offsets: Any
    times: Any
    kinds: Any
    message_ids: Any
    fields: Any
    status: Any
    key_at: Any
    key_size: Any
    value_at: Any
    value_size: Any


def decode_columns(batch: RawBatch, program: AvroProgram) -> Columns:
    """Find and decode the records of a batch."""
    n = batch.count
    positions = np.empty((5, n), np.int64)
    offsets, key_at, key_size, value_at, value_size = positions
    found = find_records(
        batch.buf, n, batch.base_offset, batch.first, offsets, key_at, key_size, value_at, value_size
    )
    if found > 0 and offsets[found - 1] >= batch.next_offset:
        found = -1  # later events of its key would be skipped, up to that offset
    fields, status = np.empty((n, program.initial.shape[1])), np.empty(n, np.uint8)
    decoded = DecodedArrays(np.empty(n), np.empty(n, np.int32), np.empty(n, np.int64), fields, status)
    bad = 0
    if found > 0:
        ahead = batch.append_time_ms + AHEAD_MS + 1.0 if batch.append_time_ms >= 0 else LATEST_MS
        latest = min(LATEST_MS, ahead)
        left = np.empty(MAX_DEPTH, np.int64)
        bad = decode(batch.buf, found, value_at, value_size, key_at, key_size, program, latest, decoded, left)
    return Columns(int(found), int(bad), offsets, *decoded, key_at, key_size, value_at, value_size)
