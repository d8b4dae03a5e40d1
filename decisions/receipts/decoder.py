"""Step 9: cuts decisions out of their records for the ledger, which stores their numbers as the record holds them.

The caller decodes a record that is not plainly a decision of the current schema with `schemas.decode`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

import schemas
from streams.kernels import kernel, read_varint

from .receipt import PACKED

LONG, TEXT, DOUBLES, LONGS = range(4)
MOST_LONGS = 16  # elements of one array; a decision has one snapshot a model
# The fields of a decision in their order, the receipt's last (a test compares them with the schema).
DECISION = (
    ("id", TEXT), ("customer", TEXT), ("policy", TEXT), ("kind", LONG), ("time", LONG), ("cause", TEXT),
    ("topic", TEXT), ("partition", LONG), ("offset", LONG),
)  # fmt: skip
RECEIPT = (("layout", LONG), *((name, LONGS if code == "q" else DOUBLES) for name, code in PACKED.items()))
KINDS = ("alert", "offer")
OPS = np.array([op for _, op in DECISION + RECEIPT])
HEAD = np.frombuffer(struct.pack(">BI", schemas.MAGIC, schemas.schema_id("decision")), np.uint8)


def decode_decisions(values: Sequence[bytes | None]) -> list[dict[str, Any] | None]:
    """Decode the decisions in `values`; their receipts' numbers stay packed. None: `schemas.decode` has to look."""
    count = len(values)
    data = b"".join(value or b"" for value in values)
    ends = np.cumsum([len(value or b"") for value in values], dtype=np.int64)
    parts = np.zeros((count, len(OPS), 2), np.int64)
    longs = np.zeros((count, MOST_LONGS), np.int64)
    plain = np.zeros(count, np.bool_)
    find_parts(np.frombuffer(data, np.uint8), ends, HEAD, OPS, parts, longs, plain)
    rows = zip(plain.tolist(), parts.reshape(count, 2 * len(OPS)).tolist(), longs, strict=True)
    return [_decision(data, at, numbers) if good else None for good, at, numbers in rows]


def _decision(data: bytes, at: list[int], longs: Any) -> dict[str, Any] | None:
    """Build one decision. `at`: two numbers a field (see `find_parts`), in the order of `DECISION` and `RECEIPT`."""
    (
        id_at, id_size, customer_at, customer_size, policy_at, policy_size, kind, _, time, _, cause_at, cause_size,
        topic_at, topic_size, partition, _, offset, _,
        layout, _, snapshots, _, scores_at, scores_size, fields_at, fields_size, values_at, values_size,
    ) = at  # fmt: skip
    if not 0 <= kind < len(KINDS):
        return None
    try:
        return {
            "id": data[id_at : id_at + id_size].decode(),
            "customer": data[customer_at : customer_at + customer_size].decode(),
            "policy": data[policy_at : policy_at + policy_size].decode(),
            "kind": KINDS[kind],
            "time": time,
            "cause": data[cause_at : cause_at + cause_size].decode(),
            "topic": data[topic_at : topic_at + topic_size].decode(),
            "partition": partition,
            "offset": offset,
            "receipt": {
                "layout": layout,
                "snapshots": longs[:snapshots].tobytes(),
                "scores": data[scores_at : scores_at + scores_size],
                "fields": data[fields_at : fields_at + fields_size],
                "values": data[values_at : values_at + values_size],
            },
        }
    except UnicodeDecodeError:
        return None


@kernel
def find_parts(data: Any, ends: Any, head: Any, ops: Any, parts: Any, longs: Any, plain: Any) -> None:
    """Walk the records `data[ends[i-1]:ends[i]]` (uint8) along `ops: int64[f]`, after the frame `head: uint8[5]`.

    parts: int64[n, f, 2]: the value of a LONG; offset in `data` and bytes of a TEXT or of DOUBLES; the number of
        LONGS, whose values are in `longs: int64[n, MOST_LONGS]`
    plain: bool[n]: the record is complete, to its last byte, and each array is one block
    """
    start = 0
    for i in range(len(ends)):
        end = ends[i]
        p = start
        good = end - start >= len(head)
        for k in range(len(head)):
            if good and data[p + k] != head[k]:
                good = False
        p += len(head)
        start = end
        for f in range(len(ops)):
            if not good:
                break
            value, p = read_varint(data, p, end)
            if p < 0:
                good = False
                break
            op = ops[f]
            parts[i, f, 0] = value
            if op == LONG:
                continue
            size = value * 8 if op == DOUBLES else value
            if value < 0 or value > end - p or size > end - p:
                good = False
                break
            parts[i, f, 0] = p
            parts[i, f, 1] = size
            if op == LONGS:
                parts[i, f, 0] = value
                if value > longs.shape[1]:
                    good = False
                    break
                for k in range(value):
                    longs[i, k], p = read_varint(data, p, end)
                    if p < 0:
                        good = False
                        break
                if not good:
                    break
            else:
                p += size
            if op >= DOUBLES and value > 0:  # the end of the array
                if p >= end or data[p] != 0:
                    good = False
                    break
                p += 1
        plain[i] = good and p == end
