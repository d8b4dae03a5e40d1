"""The arrays that the pass works on, in bundles that kernels take."""

from __future__ import annotations

from typing import Any, NamedTuple

from streams.state import Store


class InboxArrays(NamedTuple):
    """The inbox's columns (see `streams.engine.inbox.Inbox`)."""

    times: Any
    kinds: Any
    topics: Any
    offsets: Any
    message_ids: Any
    slots: Any
    fields: Any
    order: Any


class PartitionArrays(NamedTuple):
    """The partition's arrays (see `streams.engine.partition.Partition`).

    `rows`, `bits` and `floats` hold the whole (unpacked) rows of `store`, as float64, int64 and float32. A customer has
    a *slot*, which leads to all its data, and while its row is whole also a *row*, the index into these three.
    """

    number: int
    rows: Any
    bits: Any
    floats: Any
    store: Store
    hashes: Any
    spans: Any
    keys: Any
    dirty: Any
    changed: Any
    seen: Any
    counts: Any
    wake: Any
    heap_times: Any
    heap_slots: Any
    clocks: Any


class OutboxArrays(NamedTuple):
    """The outbox's arrays (see `streams.engine.outbox.Outbox`) and counters (int64[4])."""

    data: Any
    at: Any
    size: Any
    slot: Any
    topic: Any
    label: Any
    used: Any
    counters: Any
    largest: int


class Scratch(NamedTuple):
    """Scratch memory of the pass, in this order: the features' views, the feature vector, the scores, which scores are
    valid for this row and time (`ready: uint8[m + 1]`, the last one for the vector), a policy's inputs, the stack, all
    views, the fields of no event (NaN), an event's fields as numbers."""

    looked: Any
    x: Any
    scores: Any
    ready: Any
    inputs: Any
    stack: Any
    all_views: Any
    no_fields: Any
    fields: Any
