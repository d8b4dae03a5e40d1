"""20,000 fuzzed values among good ones: each is a dead letter, or decodes exactly as fastavro decodes it."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.decode_programs import decode_programs
from streams.avro.compiler import AvroProgram
from streams.avro.decoder import OK
from streams.batches.columns import Columns, decode_columns
from streams.batches.record_batch import RawBatch
from tests.doubles import shipped_config
from tests.doubles.rig import FILES
from tests.reference import streams
from tests.reference.batches import encode_record
from tests.reference.decode import DeadLetter, Event
from tests.reference.engine import Reference
from tests.reference.record import Record
from tests.streams.fuzz import fuzzed, good

ROOT = Path(__file__).parents[2]
COUNT = 20_000
GUARDED = 3_000
FEATURES = shipped_config().features
PROGRAMS: dict[str, AvroProgram] = dict(zip(streams.TOPICS, decode_programs(FEATURES), strict=True))
DECODER = Reference(*FILES, streams.SCHEMAS).decoder
BIT_FIELDS = {field.name for field in FEATURES.fields if field.reduce == "bits"}


def decoded(topic: str, records: list[Record]) -> Columns:
    """What the kernels make of these records in one batch, whose append time is theirs."""
    raw = b"".join(encode_record(r._replace(offset=at), 0, 0) for at, r in enumerate(records))
    batch = RawBatch(0, len(records), 0, len(records), -1, np.frombuffer(raw, np.uint8))
    return decode_columns(batch, PROGRAMS[topic])


def expected(record: Record) -> Event | None:
    try:
        return DECODER.decode(record._replace(timestamp=-1))
    except DeadLetter:
        return None


def same(columns: Columns, row: int, event: Event) -> bool:
    """Time, kind, message id and every field, to the bit."""
    kind = FEATURES.kinds.index(event.kind) if event.kind in FEATURES.kinds else -1
    if (columns.times[row], columns.kinds[row], columns.message_ids[row]) != (
        event.time,
        kind,
        event.message_id,
    ):
        return False
    for index, field in enumerate(FEATURES.fields):
        ours, theirs = float(columns.fields[row, index]), event.fields[field.name]
        if field.name in BIT_FIELDS and not math.isnan(theirs):
            if int(columns.fields.view(np.uint64)[row, index]) != event.bits[field.name]:
                return False
        elif ours != theirs and not (math.isnan(ours) and math.isnan(theirs)):
            return False
    return True


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return fuzzed(1, COUNT)


def test_each_is_a_dead_letter_or_decodes_as_fastavro_decodes_it(records: list[Record]) -> None:
    """With a good record before and behind each one, which stay as they are."""
    ends: Counter[str] = Counter()
    for topic in streams.TOPICS:
        neighbour = good()[topic][0]
        mine = [record for record in records if record.topic == topic]
        mixed = [neighbour] + [r for record in mine for r in (record, neighbour)]
        columns = decoded(topic, mixed)
        assert columns.count == len(mixed)
        alike = expected(neighbour)
        assert alike is not None
        assert all(columns.status[row] == OK and same(columns, row, alike) for row in range(0, len(mixed), 2))
        for row, record in enumerate(mine):
            event = expected(record)
            ends["dead" if event is None else "good"] += 1
            at = 2 * row + 1
            assert (columns.status[at] == OK) == (event is not None), (record, columns.status[at])
            assert event is None or same(columns, at, event), record
        assert columns.bad == np.count_nonzero(columns.status[: columns.count])
    assert ends.total() == COUNT
    assert min(ends["dead"], ends["good"]) > COUNT // 20  # both happen often


def test_what_lies_behind_a_record_does_not_matter(records: list[Record]) -> None:
    """The same outcome whatever poison stands between the records' own bytes."""
    outcomes = []
    for poison in (b"\0", b"\xff", b"\x02", b"a"):
        found = []
        for topic in streams.TOPICS:
            mine = [record for record in records[:6000] if record.topic == topic]
            buf, columns = _apart(mine, poison * 40)
            batch = RawBatch(0, len(mine), 0, len(mine), -1, buf)
            found.append(_again(batch, columns, PROGRAMS[topic]))
        outcomes.append(found)
    assert outcomes[0] == outcomes[1] == outcomes[2] == outcomes[3]


def _apart(records: list[Record], poison: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values with poison around each: the bytes, and int64[4, n] where they stand."""
    buf, places = bytearray(poison), []
    for record in records:
        spans = []
        for part in (record.key, record.value):
            spans += [len(buf), -1 if part is None else len(part)]
            buf += (part or b"") + poison
        places.append(spans)
    return np.frombuffer(bytes(buf), np.uint8), np.array(places, np.int64).T.copy()


def _again(batch: RawBatch, places: np.ndarray, program: AvroProgram) -> tuple[bytes, ...]:
    from streams.avro.compiler import MAX_DEPTH
    from streams.avro.decoder import LATEST_MS, DecodedArrays, decode

    n = batch.count
    times, kinds, ids = np.zeros(n), np.zeros(n, np.int32), np.zeros(n, np.int64)
    fields, status = np.zeros((n, program.initial.shape[1])), np.zeros(n, np.uint8)
    key_at, key_size, value_at, value_size = places
    out = DecodedArrays(times, kinds, ids, fields, status)
    left = np.zeros(MAX_DEPTH, np.int64)
    decode(batch.buf, n, value_at, value_size, key_at, key_size, program, LATEST_MS, out, left)
    fine = status == OK
    return tuple(part.tobytes() for part in (status, times[fine], kinds[fine], ids[fine], fields[fine]))


def guarded(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.streams.guarded_page", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_nothing_reads_past_a_record() -> None:
    ended = guarded(str(GUARDED))
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == 3 * GUARDED


def test_the_guard_behind_the_record_bites() -> None:
    assert guarded("1", "overrun").returncode == -signal.SIGSEGV
