"""Writes outputs to the outbox: alerts, offers and examples with their ids."""

from __future__ import annotations

from typing import Any

from streams.avro import digits, put_decimal, put_long, put_raw
from streams.kernels import inlined, inner
from streams.state import key_size, key_start

from .arrays import OutboxArrays, PartitionArrays
from .plan import (
    PassPlan,
)

MANY_COLONS = 3


@inlined
def room_left(out: OutboxArrays, records: int) -> Any:
    return out.used[0] + records <= len(out.at) and out.used[1] + records * out.largest <= len(out.data)


@inner
def finish(out: OutboxArrays, start: int, stop: int, slot: int, topic: int, label: int) -> None:
    record = out.used[0]
    out.at[record] = start
    out.size[record] = stop - start
    out.slot[record] = slot
    out.topic[record] = topic
    out.label[record] = label
    out.used[0] = record + 1
    out.used[1] = stop


@inner
def put_text(data: Any, p: int, names: Any, number: int) -> int:
    start = names.ends[number]
    stop = names.ends[number + 1]
    return put_raw(data, put_long(data, p, stop - start), names.data, start, stop)


@inner
def put_joined(
    data: Any,
    p: int,
    table: PartitionArrays,
    slot: int,
    names: Any,
    number: int,
    time: int,
    tail: Any,
    last: int,
) -> int:
    """Write the id `<customer>:<name>:<time>`, followed by `:<tail>` unless `last` is -1."""
    start = key_start(table.spans, slot)
    stop = start + key_size(table.spans, slot)
    a = names.ends[number]
    b = names.ends[number + 1]
    size = stop - start + 1 + b - a + 1 + digits(time)
    if last >= 0:
        size += 1 + tail.ends[last + 1] - tail.ends[last]
    p = put_long(data, p, size)
    p = put_raw(data, p, table.keys, start, stop)
    data[p] = 58
    p = put_raw(data, p + 1, names.data, a, b)
    data[p] = 58
    p = put_decimal(data, p + 1, time)
    if last >= 0:
        data[p] = 58
        p = put_raw(data, p + 1, tail.data, tail.ends[last], tail.ends[last + 1])
    return p


@inner
def put_position(
    data: Any, p: int, plan: PassPlan, topic: int, partition: int, offset: int, policy: int
) -> int:
    """Write the id `<topic>:<partition>:<offset>:<policy>`."""
    a = plan.topics.ends[topic]
    b = plan.topics.ends[topic + 1]
    c = plan.policy_names.ends[policy]
    d = plan.policy_names.ends[policy + 1]
    p = put_long(data, p, b - a + digits(partition) + digits(offset) + d - c + MANY_COLONS)
    p = put_raw(data, p, plan.topics.data, a, b)
    data[p] = 58
    p = put_decimal(data, p + 1, partition)
    data[p] = 58
    p = put_decimal(data, p + 1, offset)
    data[p] = 58
    return put_raw(data, p + 1, plan.policy_names.data, c, d)


@inner
def put_key(data: Any, p: int, table: PartitionArrays, slot: int) -> int:
    start = key_start(table.spans, slot)
    stop = start + key_size(table.spans, slot)
    return put_raw(data, put_long(data, p, stop - start), table.keys, start, stop)
