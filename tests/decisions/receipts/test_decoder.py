"""Decisions cut out of their bytes are those that `schemas.decode` reads, and what is not plain is left to it."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from decisions.receipts.decoder import (
    DECISION,
    KINDS,
    LONG,
    LONGS,
    MOST_LONGS,
    OPS,
    RECEIPT,
    TEXT,
    decode_decisions,
)
from decisions.receipts.receipt import PACKED, pack

LONG_VALUES = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.lists(st.floats(), max_size=12)
DECISIONS = st.fixed_dictionaries(
    {
        "id": st.text(max_size=40), "customer": st.text(max_size=20), "policy": st.text(max_size=9),
        "kind": st.sampled_from(KINDS), "time": LONG_VALUES, "cause": st.text(max_size=9), "topic": st.text(max_size=9),
        "partition": st.integers(-(2**31), 2**31 - 1), "offset": LONG_VALUES,
        "receipt": st.fixed_dictionaries(
            {
                "layout": LONG_VALUES, "snapshots": st.lists(LONG_VALUES, max_size=MOST_LONGS), "scores": NUMBERS,
                "fields": NUMBERS, "values": NUMBERS,
            }
        ),
    }
)  # fmt: skip


def packed(decision: dict[str, Any]) -> dict[str, Any]:
    receipt = decision["receipt"]
    numbers = {name: pack(receipt[name], code) for name, code in PACKED.items()}
    return {**decision, "receipt": {**receipt, **numbers}}


@settings(deadline=None)  # the first call compiles
@given(st.lists(DECISIONS, max_size=5))
def test_cut_is_what_is_decoded(decisions: list[dict[str, Any]]) -> None:
    values = [schemas.encode("decision", decision) for decision in decisions]
    assert decode_decisions(values) == [packed(decision) for decision in decisions]


@settings(deadline=None)
@given(DECISIONS, st.data())
def test_what_is_damaged_is_none_or_what_is_decoded_and_its_neighbours_are_whole(
    decision: dict[str, Any], data: st.DataObject
) -> None:
    good = schemas.encode("decision", decision)
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    bad = bad[: data.draw(st.integers(0, len(bad)))]
    first, found, last = decode_decisions([good, bytes(bad), good])
    assert first == last == packed(decision)
    if found is not None:
        name, decoded = schemas.decode(bytes(bad))
        assert (name, packed(decoded)) == ("decision", found)


def test_nothing_and_what_is_no_decision_is_left() -> None:
    outcome = schemas.encode("outcome", {"id": "1", "customer": "c", "offer": "o", "kind": "sent", "time": 1})
    assert decode_decisions([None, b"", b"\0", outcome]) == [None] * 4
    assert decode_decisions([]) == []


def test_more_snapshots_than_fit_are_left() -> None:
    receipt = {
        "layout": 1,
        "snapshots": [1] * (MOST_LONGS + 1),
        "scores": [],
        "fields": [],
        "values": [math.pi],
    }
    decision = {
        "id": "", "customer": "", "policy": "", "kind": "alert", "time": 0, "cause": "", "topic": "", "partition": 0,
        "offset": 0, "receipt": receipt,
    }  # fmt: skip
    assert decode_decisions([schemas.encode("decision", decision)]) == [None]


def test_the_fields_are_those_of_the_schema() -> None:
    fields = schemas.schema("decision")["fields"]
    assert schemas.versions("decision") == [1]  # another one needs another list
    *outer, receipt = fields
    inner = receipt["type"]["fields"]
    ops = []
    for field in [*outer, *inner]:
        kind = field["type"]
        if isinstance(kind, dict) and kind["type"] == "array":
            ops.append((field["name"], "array", kind["items"]))
        else:
            ops.append((field["name"], kind["type"] if isinstance(kind, dict) else kind, None))
    assert [name for name, _, _ in ops] == [name for name, _ in DECISION + RECEIPT]
    for (_, kind, items), op in zip(ops, OPS.tolist(), strict=True):
        assert (op == TEXT) == (kind == "string")
        assert (op == LONG) == (kind in ("long", "int", "enum"))
        assert (op == LONGS) == (items == "long")
    assert tuple(next(f for f in outer if f["name"] == "kind")["type"]["symbols"]) == KINDS
