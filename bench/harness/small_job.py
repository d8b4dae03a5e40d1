"""Runs this engine on the small job of `bench.workload.job`, with changelog, commit cycle and acknowledged alerts.

    python -m bench.harness.small_job --bootstrap 127.0.0.1:9092 --topic T --events N --alerts-topic A

The job is its own `Pass`, so it also shows what the engine requires of one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import uuid
from typing import Any

import numpy as np

from bench.workload import (
    ALERT_EVERY,
    DECAY_MS,
    KINDS,
    LEARNING_RATE,
    MAX_LOGIT,
    PARTITIONS,
    SCHEMA,
    SCHEMA_ID,
    chunks,
    create_topic,
    customer_key,
    encode,
)
from streams.avro import KIND, TIME, Capture, compile_program, put_double, put_long, put_raw
from streams.batches import RawBatch
from streams.engine import CHANGELOG, TAKEN, Engine, Outbox, Partition, keep_taken
from streams.kernels import hash_bytes, kernel
from streams.processor import Processor
from streams.state import Store, has_room, key_size, key_start, place_of

from .clock import Clock

APPLIED, SUMS, COUNT, LAST = 1, 2, 7, 8
WORDS = 9
SPEND = 4
FEATURES = 7
PATIENCE_S = 600.0


@kernel
def fold_small_job(
    first: int, count: int, order: Any, times: Any, kinds: Any, offsets: Any, slots: Any, fields: Any, rows: Any,
    bits: Any, store: Store, dirty: Any, changed: Any, counts: Any, model: Any, x: Any, spans: Any, keys: Any,
    data: Any, at: Any, size: Any, slot_out: Any, used: Any, largest: int,
) -> int:  # fmt: skip
    """Run `bench.workload.job` over `order[first:count]`; `model: float64[8]`: the weights, then the bias."""
    for i in range(first, count):
        if used[0] >= len(at) or used[1] + largest > len(data):
            return i
        e = order[i]
        slot = slots[e]
        if not has_room(store):
            return i
        row = place_of(store, slot)
        if offsets[e] <= bits[row, APPLIED]:
            continue
        if dirty[slot] & TAKEN:
            keep_taken(dirty, store, slot, row)
        bits[row, APPLIED] = offsets[e]
        if dirty[slot] & CHANGELOG == 0:
            dirty[slot] |= CHANGELOG
            changed[counts[0]] = slot
            counts[0] += 1
        ts = times[e]
        if rows[row, 0] == 0.0:
            rows[row, 0] = ts
        fade = math.exp((rows[row, 0] - ts) / DECAY_MS)
        logit = model[FEATURES]
        for c in range(5):
            rows[row, SUMS + c] *= fade
            x[c] = rows[row, SUMS + c]
        x[5] = math.log1p((ts - rows[row, LAST]) / 1e3) if rows[row, LAST] > 0.0 else 0.0
        x[6] = math.log1p(rows[row, COUNT])
        for c in range(FEATURES):
            logit += model[c] * x[c]
        p = 1.0 / (1.0 + math.exp(-min(max(logit, -MAX_LOGIT), MAX_LOGIT)))
        kind = kinds[e]
        if kind >= 2:
            step = LEARNING_RATE * (p - (1.0 if kind == 3 else 0.0))
            model[FEATURES] -= step
            for c in range(FEATURES):
                model[c] -= step * x[c]
        rows[row, SUMS + kind] += 1.0
        rows[row, 0] = ts
        value = fields[e, 0]
        if value > 0.0:
            rows[row, SUMS + SPEND] += value
            rows[row, LAST] = ts
        rows[row, COUNT] += 1.0
        if np.int64(rows[row, COUNT]) % ALERT_EVERY == 0:
            start = used[1]
            key = key_start(spans, slot)
            length = key_size(spans, slot)
            stop = put_raw(data, put_long(data, start, length), keys, key, key + length)
            stop = put_long(data, put_double(data, stop, p), np.int64(ts))
            record = used[0]
            at[record] = start
            size[record] = stop - start
            slot_out[record] = slot
            used[0] = record + 1
            used[1] = stop
    return count


class SmallPass:
    """The job as the pass of the engine, the format of its rows, and an adoption that adopts nothing."""

    fields = 1
    largest_output_bytes = 1100
    expire_after_ms = math.inf
    words = WORDS
    description = b'{"groups": [["small job", 9, []]]}'
    layout_id = hash_bytes(description) >> 1

    def __init__(self, alerts_topic: str) -> None:
        self.outputs = [alerts_topic]
        captures = {"ts": Capture(TIME), "kind": Capture(KIND), "value": Capture(0)}
        kinds = {kind: number for number, kind in enumerate(KINDS)}
        self.programs = [compile_program({SCHEMA_ID: SCHEMA}, SCHEMA, captures, kinds, 1)]
        self.default_row = np.zeros(WORDS)
        self.default_row.view(np.int64)[APPLIED] = -1
        self.deadline_words = np.empty(0, np.int64)
        self._model = np.zeros(FEATURES + 1)
        self._x = np.zeros(FEATURES)

    def new_state(self) -> None:
        """There is no state but rows: the model belongs to the task."""

    def run(self, partition: Partition, first: int, count: int, outbox: Outbox) -> int:
        """See `streams.engine.engine.Pass.run`."""
        inbox, index, store = partition.inbox, partition.index, partition.rows.store
        return int(
            fold_small_job(
                first,
                count,
                inbox.order,
                inbox.times,
                inbox.kinds,
                inbox.offsets,
                inbox.slots,
                inbox.fields,
                store.rows,
                store.bits,
                store,
                partition.dirty,
                partition.changed,
                partition.counts,
                self._model,
                self._x,
                index.spans,
                index.arena,
                outbox.data,
                outbox.at,
                outbox.size,
                outbox.slot,
                outbox.used,
                self.largest_output_bytes,
            )
        )

    def label(self, topic: int, label: int) -> str:
        """There is one kind of output."""
        return "alert"

    def dead_letter(self, topic: str, partition: int, offset: int, reason: str, *rest: Any) -> bytes:
        """Raise: the topic holds no such record, so one is a bug of the bench."""
        raise AssertionError(f"{topic}[{partition}]@{offset}: {reason}")

    def in_force(self, partition: Partition) -> dict[str, Any]:
        """Return nothing: there are no models to adopt."""
        return {}

    offered = in_force

    def adopt(self, partition: Partition, offered: dict[str, Any]) -> None:
        """Adopt nothing."""

    def migration(self, description: bytes) -> Any:
        """Raise: there is only one layout."""
        raise AssertionError("the small job has one layout")


def _compile(work: SmallPass) -> None:
    """Fold nothing, then one event, so that all kernels are compiled before the clock starts."""
    partition = Partition(0, 1, 1, work.default_row, work.deadline_words)
    partition.activate()
    work.run(partition, 0, 0, Outbox(16, 4096))
    partition.make_room()
    engine = Engine(["t"], work, _Nowhere())  # type: ignore[arg-type]
    engine.partition(0).activate()
    value = encode(next(chunks(1, 1)))[0]
    key = customer_key(value)
    body = b"\0\0\0" + bytes([len(key) << 1]) + key + _size(len(value)) + value + b"\0"
    record = _size(len(body)) + body
    engine.on_batch("t", 0, RawBatch(0, 1, 0, 1, -1, np.frombuffer(record, np.uint8)))
    again = engine.partition(0)
    again.records(again.take_changed(), work.layout_id)
    work._model[:] = 0.0


def _size(number: int) -> bytes:
    number <<= 1
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


class _Nowhere:
    def send(self, *given: Any) -> None:
        """Drop the messages."""


def main(argv: list[str] | None = None) -> int:
    """Run the job over the topic once and print its figures as one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--alerts-topic", required=True)
    given = parser.parse_args(argv)
    group = f"small-{uuid.uuid4().hex[:8]}"
    changelog = f"{group}-changelog"
    create_topic(given.bootstrap, changelog, PARTITIONS)
    work = SmallPass(given.alerts_topic)
    _compile(work)
    processor = Processor(
        group, given.bootstrap, [given.topic], work, rows=work, adoption=work, migration=work.migration,
        changelog=changelog, partitions=PARTITIONS,
    )  # fmt: skip
    clock = Clock(processor.engine, given.events)
    asyncio.run(_run(processor, clock))
    return 0


def _report(processor: Processor, clock: Clock) -> None:
    """Wait for acknowledgements, print the figures and exit."""
    if processor.outputs.flush(30):
        sys.stderr.write("alerts were not acknowledged in 30 s\n")
        os._exit(1)
    figures = {
        "engine": "streamwise",
        **clock.figures(),
        "alerts": sum(processor.engine.counters.outputs.values()),
        "batches": processor.engine.counters.batches,
        "commit_cycles": processor.cycle.cycles,
        "pass_us_per_event": processor.engine.counters.pass_s / clock.events * 1e6,
    }
    print(json.dumps(figures), flush=True)
    os._exit(0)  # the figures are printed; how Faust's threads stop is not measured


async def _run(processor: Processor, clock: Clock) -> None:
    try:
        await processor.app.start()
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        os._exit(1)
    loop = asyncio.get_running_loop()
    if not await loop.run_in_executor(None, clock.done.wait, PATIENCE_S):
        sys.stderr.write(f"the topic was not read in {PATIENCE_S:.0f} s\n")
        os._exit(1)
    await processor.app.consumer.commit()
    _report(processor, clock)


if __name__ == "__main__":
    sys.exit(main())
