"""Compiled Avro programs against fastavro, on random schemas and what later readers make of them."""

from __future__ import annotations

import io
import math
from random import Random
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.avro.compiler import (
    BITS,
    COUNT,
    KIND,
    MAX_DEPTH,
    MESSAGE_ID,
    SET,
    SUM,
    TIME,
    AvroProgram,
    Capture,
    compile_program,
)
from streams.avro.decoder import LATEST_MS, MALFORMED, OK, OUT_OF_BOUNDS, DecodedArrays, decode
from streams.errors import Fatal
from tests.reference.hashing import bit_of, hash52, hash64, signed
from tests.reference.strict import check, named_types
from tests.streams.avro_schemas import HEAD, MODES, Maker, expected, leaves, number, paths

KINDS = {"page": 0, "order": 1}
FIXED_CAPTURES = {"time": Capture(TIME), "kind": Capture(KIND), "message_id": Capture(MESSAGE_ID)}
ID = 7


class Decoded:
    """What the kernel made of one body, placed at the very end of its buffer."""

    def __init__(self, program: AvroProgram, body: bytes, fields: int) -> None:
        value = b"\0" + ID.to_bytes(4, "big") + body
        buf = np.frombuffer(b"k" + value, np.uint8)
        one = np.ones(1, np.int64)
        self.times, self.kinds, self.ids = np.zeros(1), np.zeros(1, np.int32), np.zeros(1, np.int64)
        self.fields, status = np.full((1, max(1, fields)), 7.0), np.zeros(1, np.uint8)
        out = DecodedArrays(self.times, self.kinds, self.ids, self.fields, status)
        left = np.zeros(MAX_DEPTH, np.int64)
        decode(buf, 1, one, one * len(value), one * 0, one, program, LATEST_MS, out, left)
        self.status = int(status[0])

    def field(self, index: int, mode: int) -> float | int:
        value = float(self.fields[0, index])
        if mode == BITS and not math.isnan(value):
            return int(self.fields.view(np.uint64)[0, index])
        bits = int(self.fields.view(np.uint64)[0, index])
        return bits if mode == BITS and bits != ABSENT else value


ABSENT = int(np.array([np.nan]).view(np.uint64)[0])


def encoded(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def program_of(writer: Any, reader: Any, captures: dict[str, Capture]) -> AvroProgram:
    return compile_program({ID: writer}, reader, {**FIXED_CAPTURES, **captures}, KINDS, max(1, len(captures)))


def event(**fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "event",
        "fields": [*HEAD, *({"name": n, "type": t} for n, t in fields.items())],
    }


def run(schema: Any, value: dict[str, Any], captures: dict[str, Capture], reader: Any = None) -> list[float]:
    """The fields of one good event."""
    whole = {"message_id": "m", "time": 1_600_000_000_000, "kind": "page", **value}
    got = Decoded(program_of(schema, reader or schema, captures), encoded(schema, whole), len(captures))
    assert got.status == OK
    return [float(x) for x in got.fields[0, : len(captures)]]


def same(ours: float | int, theirs: float | int) -> bool:
    if isinstance(theirs, int):
        return ours == theirs
    if math.isnan(theirs):
        return math.isnan(ours)
    return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-14)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**64))
def test_random_schemas(seed: int) -> None:
    draw = Random(seed)
    maker = Maker(draw)
    writer = maker.record()
    reader = maker.later(writer) if draw.random() < 0.7 else writer
    try:
        parsed = fastavro.parse_schema(reader)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType):
        reader, parsed = writer, fastavro.parse_schema(writer)  # a name went with the field that gave it
    found = sorted(paths(reader, "", dict(named_types(reader))))
    chosen = [(path, draw.choice(MODES[sort])) for path, sort in found if sort in MODES]
    chosen = [
        (path, mode)
        for path, mode in dict(chosen).items()
        if mode != BITS or path.endswith("]") or "[]" in path or "{}" in path
    ]
    captures = {path: Capture(index, mode) for index, (path, mode) in enumerate(chosen)}
    program = program_of(fastavro.parse_schema(writer), parsed, captures)
    for _ in range(3):
        body = encoded(writer, maker.value(writer, dict(named_types(writer))))
        compare(program, writer, reader, body, chosen)
        if draw.random() < 0.5:
            compare(program, writer, reader, spoilt(draw, body), chosen)


def spoilt(draw: Random, body: bytes) -> bytes:
    damaged = bytearray(body)
    damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged[: draw.choice((len(body), draw.randrange(len(body))))])


def compare(
    program: AvroProgram, writer: Any, reader: Any, body: bytes, chosen: list[tuple[str, int]]
) -> None:
    got = Decoded(program, body, len(chosen))
    try:
        keys_once = check(writer, body)
        value = fastavro.schemaless_reader(io.BytesIO(body), writer, reader)
    except Exception:  # whatever fastavro stumbles over
        assert got.status != OK
        return
    seen = list(leaves(value, reader, "", dict(named_types(reader))))
    # what a map has twice under a key counts twice, and fastavro keeps one of them: a test of its own, below
    compared = {index: at for index, at in enumerate(chosen) if keys_once or "{}" not in at[0]}
    wanted = {index: expected(seen, path, mode) for index, (path, mode) in compared.items()}
    if None in wanted.values():
        assert got.status == OUT_OF_BOUNDS
        return
    time_ms = number(value["time"])
    if not 631_152_000_000 <= time_ms < 4_102_444_800_000:
        assert got.status != OK
        return
    if not keys_once and got.status == OUT_OF_BOUNDS:  # what stands in the map may be
        return
    assert got.status == OK
    assert (got.times[0], got.kinds[0]) == (time_ms, KINDS.get(value["kind"], -1))
    assert got.ids[0] == signed(hash64(value["message_id"].encode()))
    for index, (path, mode) in compared.items():
        ours, theirs = got.field(index, mode), wanted[index]
        assert theirs is not None
        assert same(ours, theirs), (path, mode, ours, theirs)


# -- cases worked out by hand


def test_a_time_in_microseconds_is_whole_milliseconds() -> None:
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    schema = {**event(), "fields": [HEAD[0], {"name": "time", "type": micros}, HEAD[2]]}
    body = encoded(schema, {"message_id": "m", "time": 1_700_000_000_123_999, "kind": "page"})
    assert Decoded(program_of(schema, schema, {}), body, 0).times[0] == 1_700_000_000_123.0


def test_a_count_counts_items_of_any_type_that_are_not_null() -> None:
    words = {"type": "array", "items": ["null", "string"]}
    rows = {
        "type": "array",
        "items": {"type": "record", "name": "R", "fields": [{"name": "x", "type": "double"}]},
    }
    captures = {"words[]": Capture(0, COUNT), "rows[]": Capture(1, COUNT), "rows[].x": Capture(2, COUNT)}
    value = {"words": ["a", None, "b"], "rows": [{"x": 9.0}, {"x": 9.0}]}
    assert run(event(words=words, rows=rows), value, captures) == [2, 2, 2]
    assert run(event(words=words, rows=rows), {"words": [], "rows": []}, captures) == [0, 0, 0]


def test_what_a_map_has_twice_under_a_key_counts_twice() -> None:
    schema = event(m={"type": "map", "values": "int"})
    whole = {"message_id": "m", "time": 1_600_000_000_000, "kind": "page", "m": {"a": 1, "b": 2}}
    body = encoded(schema, whole).replace(b"\x02b", b"\x02a")
    assert Decoded(program_of(schema, schema, {"m{}": Capture(0, SUM)}), body, 1).fields[0, 0] == 3


def test_a_symbol_is_a_string_like_any_other_whatever_its_index() -> None:
    old = {"type": "enum", "name": "C", "symbols": ["red", "green"]}
    new = {"type": "enum", "name": "C", "symbols": ["blue", "green", "none"], "default": "none"}
    captures = {"c": Capture(0)}
    assert run(event(c=old), {"c": "green"}, captures, event(c=new)) == [hash52("green")]
    assert run(event(c=old), {"c": "red"}, captures, event(c=new)) == [hash52("none")]


def test_a_list_that_is_null_is_absent_and_an_empty_one_is_not() -> None:
    numbers, words = (
        ["null", {"type": "array", "items": "double"}],
        ["null", {"type": "array", "items": "string"}],
    )
    schema = event(numbers=numbers, words=words)
    captures = {"numbers[]": Capture(0, SUM), "words[]": Capture(1, BITS)}
    assert all(math.isnan(v) for v in run(schema, {"numbers": None, "words": None}, captures))
    assert run(schema, {"numbers": [], "words": []}, captures) == [0, 0]
    bits = run(schema, {"numbers": [0.25, 0.5], "words": ["a", "b"]}, captures)
    both = bit_of(hash52("a")) | bit_of(hash52("b"))
    assert (bits[0], int(np.array([bits[1]]).view(np.uint64)[0])) == (0.75, both)


def test_a_type_that_the_reader_uses_twice_by_its_name() -> None:
    point = {"type": "record", "name": "P", "fields": [{"name": "x", "type": "double"}]}
    schema = event(a=point, b="P")
    assert run(schema, {"a": {"x": 1.0}, "b": {"x": 2.0}}, {"a.x": Capture(0), "b.x": Capture(1)}) == [1, 2]


def test_fields_that_the_writer_did_not_know_have_the_readers_default_also_in_lists() -> None:
    old = {"type": "record", "name": "L", "fields": [{"name": "q", "type": "double"}]}
    new = {**old, "fields": [*old["fields"], {"name": "tax", "type": "double", "default": 0.5}]}
    writer, reader = (
        event(lines={"type": "array", "items": old}),
        event(lines={"type": "array", "items": new}),
    )
    reader["fields"].append({"name": "currency", "type": "string", "default": "EUR"})
    captures = {"lines[].tax": Capture(0, SUM), "currency": Capture(1)}
    assert run(writer, {"lines": [{"q": 1.0}, {"q": 1.0}]}, captures, reader) == [1.0, hash52("EUR")]


def test_bytes_that_are_read_as_a_string_in_a_union_must_be_one() -> None:
    writer, reader = event(t=["null", "bytes"]), event(t=["null", "string"])
    program = program_of(writer, reader, {"t": Capture(0)})
    whole = {"message_id": "m", "time": 1_600_000_000_000, "kind": "page"}
    assert Decoded(program, encoded(writer, {**whole, "t": b"\xff"}), 1).status == MALFORMED
    assert Decoded(program, encoded(writer, {**whole, "t": b"a"}), 1).fields[0, 0] == hash52("a")


def test_infinities_that_cancel_out_are_no_sum() -> None:
    schema = event(x={"type": "array", "items": "double"})
    body = encoded(
        schema,
        {"message_id": "m", "time": 1_600_000_000_000, "kind": "page", "x": [math.inf, -math.inf, 5.0]},
    )
    assert Decoded(program_of(schema, schema, {"x[]": Capture(0, SUM)}), body, 1).status == OUT_OF_BOUNDS


@pytest.mark.parametrize(("kind", "mode"), [("string", SUM), ("double", BITS), ("boolean", BITS)])
def test_a_reducer_that_makes_no_sense_is_refused(kind: str, mode: int) -> None:
    schema = event(x={"type": "array", "items": kind})
    with pytest.raises(Fatal, match="cannot be reduced"):
        program_of(schema, schema, {"x[]": Capture(0, mode)})


def test_an_unknown_path_names_those_that_there_are() -> None:
    with pytest.raises(Fatal, match=r"no 'lines\[\]\.tax'.*'amount'"):
        program_of(event(amount="double"), event(amount="double"), {"lines[].tax": Capture(0)})


def test_recursive_types_and_deep_ones_are_refused() -> None:
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    with pytest.raises(Fatal, match="contains itself"):
        program_of(event(n=node), event(n=node), {})
    deep: Any = "double"
    for _ in range(MAX_DEPTH + 1):
        deep = {"type": "array", "items": deep}
    with pytest.raises(Fatal, match="nested deeper"):
        program_of(event(x=deep), event(x=deep), {})


def test_captured_as_it_stands() -> None:
    fixed, date = {"type": "fixed", "name": "F", "size": 3}, {"type": "int", "logicalType": "date"}
    schema = event(flag="boolean", size=fixed, day=date)
    captures = {"flag": Capture(0, SET), "size": Capture(1), "day": Capture(2)}
    found = run(schema, {"flag": True, "size": b"abc", "day": 3}, captures)
    assert found == [1.0, float(hash64(b"abc") % 2**52), 3 * 86_400_000.0]
