"""Step 3, second half: a writer's Avro schema becomes a program that a kernel runs over raw bodies.

A program reads every byte of a record (bounded by the record's own length, strings checked as UTF-8)
and keeps only what was asked for: the event's time, kind, message id and fields. It accepts nothing
that fastavro would refuse, and leaves nothing unread. Compile: `compile_program`; run: `streams.decode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import Fatal

# opcodes: each instruction is int64[5] = (opcode, destination, mode, a, b)
END, SKIP_NULL, BOOL, LONG, FLOAT, DOUBLE, BYTES, STRING, FIXED, ENUM, UNION, JUMP, BLOCK, LOOP, DECIMAL, ZERO = range(16)
# destinations below zero are not fields
NOWHERE, TIME, KIND, MESSAGE_ID = -1, -2, -3, -4
# modes: what is done with a value that has a destination
SET, SUM, COUNT, BITS = range(4)
MODES = {"last": SET, "sum": SUM, "count": COUNT, "bits": BITS}

_INT_SCALES_MS = {  # what one unit of an integer logical type is in milliseconds
    "timestamp-millis": 1.0,
    "timestamp-micros": 1e-3,
    "local-timestamp-millis": 1.0,
    "local-timestamp-micros": 1e-3,
    "date": 86_400_000.0,
}
MAX_DEPTH = 8  # nested arrays and maps


@dataclass(frozen=True, slots=True)
class Capture:
    """Where a value goes: `field` (a column, or TIME, KIND, MESSAGE_ID), its reducer and its bounds."""

    field: int
    mode: int = SET
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, slots=True)
class Program:
    """Programs of all schema ids of one topic, laid end to end.

    `code: int64[n, 5]`; `tables: int64[m]` (jumps of unions, kinds of enum symbols); `scales: float64[k]`;
    `ids: int64[s]` the schema ids, sorted; `entry: int64[s]`; `initial: float64[s, f]` what a field is
    when the record does not hold it (NaN, the reader's default, 0 for bit sets); `bounds: float64[f, 2]`.
    """

    code: Any
    tables: Any
    scales: Any
    ids: Any
    entry: Any
    initial: Any
    bounds: Any


@dataclass(slots=True)
class _Compiler:
    captures: Mapping[str, Capture]
    kinds: Mapping[str, int]
    code: list[list[int]] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    scales: list[float] = field(default_factory=lambda: [1.0])
    named: dict[str, Any] = field(default_factory=dict)
    open_names: list[str] = field(default_factory=list)
    depth: int = 0

    def emit(self, opcode: int, capture: Capture | None = None, a: int = 0, b: int = 0) -> int:
        destination, mode = (capture.field, capture.mode) if capture else (NOWHERE, SET)
        self.code.append([opcode, destination, mode, a, b])
        return len(self.code) - 1

    def scale(self, factor: float) -> int:
        if factor not in self.scales:
            self.scales.append(factor)
        return self.scales.index(factor)

    def compile(self, schema: Any, path: str, reader: Any = None) -> None:
        """Emit the reading of `schema`; `reader` is the current schema's type at the same place, for enums."""
        capture = self.captures.get(path)
        if isinstance(schema, list):
            self._union(schema, path, reader)
            return
        if isinstance(schema, str):
            if schema in self.named:
                if schema in self.open_names:
                    raise Fatal(f"schema {schema!r} contains itself; recursive types cannot be compiled")
                self.compile(self.named[schema], path, reader)
                return
            schema = {"type": schema}
        kind = schema["type"]
        if isinstance(kind, (dict, list)):
            self.compile(kind, path, reader)
            return
        if kind in ("record", "error"):
            self._record(schema, path, reader)
        elif kind == "enum":
            self._enum(schema, capture, reader)
        elif kind in ("array", "map"):
            self._blocks(schema, kind, path, reader)
        else:
            self._primitive(schema, kind, capture, path, reader)

    def _record(self, schema: Any, path: str, reader: Any) -> None:
        name = _full_name(schema)
        self.named[name] = schema
        self.named[schema["name"]] = schema
        self.open_names += [name, schema["name"]]
        readers = _reader_fields(reader)
        for member in schema["fields"]:
            target = readers.get(member["name"])
            name_there = target["name"] if target else member["name"]
            child = name_there if not path else f"{path}.{name_there}"
            if reader is not None and target is None:
                child = f"{child} (unknown to the reader)"  # read over, never captured
            self.compile(member["type"], child, target["type"] if target else None)
        del self.open_names[-2:]

    def _enum(self, schema: Any, capture: Capture | None, reader: Any) -> None:
        self.named[_full_name(schema)] = self.named[schema["name"]] = schema
        symbols = schema["symbols"]
        start = len(self.tables)
        reader = _plain(reader)
        known = set(reader["symbols"]) if isinstance(reader, dict) and "symbols" in reader else set(symbols)
        default = reader.get("default") if isinstance(reader, dict) else None
        for symbol in symbols:
            seen = symbol if symbol in known else default
            self.tables.append(-2 if seen is None else self.kinds.get(seen, -1))
        self.emit(ENUM, capture, start, len(symbols))

    def _union(self, branches: Sequence[Any], path: str, reader: Any) -> None:
        start = len(self.tables)
        self.tables.extend([0] * len(branches))
        self.emit(UNION, None, start, len(branches))
        ends = []
        for number, branch in enumerate(branches):
            self.tables[start + number] = len(self.code)
            self.compile(branch, path, _matching(branch, reader))
            ends.append(self.emit(JUMP))
        for at in ends:
            self.code[at][3] = len(self.code)

    def _blocks(self, schema: Any, kind: str, path: str, reader: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Fatal(f"{path}: arrays and maps nested deeper than {MAX_DEPTH} cannot be compiled")
        child = f"{path}[]" if kind == "array" else f"{path}{{}}"
        counter = self.captures.get(child)
        for inner_path, inside in self.captures.items():
            if inner_path.startswith(child) and inside.mode in (SUM, COUNT):
                self.emit(ZERO, inside)  # an empty array sums to 0; one that is not there stays absent
        block = self.emit(BLOCK, counter if counter and counter.mode == COUNT else None, 0, self.depth - 1)
        body = len(self.code)
        if kind == "map":
            self.emit(STRING)
        reader = _plain(reader)
        inner = reader.get("items" if kind == "array" else "values") if isinstance(reader, dict) else None
        self.compile(schema["items" if kind == "array" else "values"], child, inner)
        self.emit(LOOP, None, body, self.depth - 1)
        self.code[block][3] = len(self.code)
        self.depth -= 1

    def _primitive(self, schema: Any, kind: str, capture: Capture | None, path: str, reader: Any) -> None:
        logical = schema.get("logicalType")
        if logical == "decimal" and kind in ("bytes", "fixed"):
            size = schema["size"] if kind == "fixed" else -1
            self.emit(DECIMAL, capture, self.scale(10.0 ** -schema.get("scale", 0)), size)
        elif kind == "null":
            self.emit(SKIP_NULL)
        elif kind == "boolean":
            self.emit(BOOL, capture)
        elif kind in ("int", "long"):
            self.emit(LONG, capture, self.scale(_INT_SCALES_MS.get(logical, 1.0)))
        elif kind in ("float", "double"):
            self.emit(FLOAT if kind == "float" else DOUBLE, capture)
        elif kind in ("string", "bytes"):
            # bytes read as string must be UTF-8 too: fastavro decodes them for the reader
            as_text = kind == "string" or _plain_name(reader) == "string"
            self.emit(STRING if as_text else BYTES, capture)
        elif kind == "fixed":
            self.named[_full_name(schema)] = self.named[schema["name"]] = schema
            self.emit(FIXED, capture, schema["size"])
        elif kind in self.named:
            self.compile(kind, path, reader)
        else:
            raise Fatal(f"{path}: Avro type {kind!r} is not known")


def _full_name(schema: Any) -> str:
    space = schema.get("namespace")
    return f"{space}.{schema['name']}" if space and "." not in schema["name"] else str(schema["name"])


def _plain(schema: Any) -> Any:
    while isinstance(schema, dict) and isinstance(schema.get("type"), (dict, list)):
        schema = schema["type"]
    if isinstance(schema, list):
        rest = [branch for branch in schema if _plain_name(branch) != "null"]
        return _plain(rest[0]) if len(rest) == 1 else schema
    return schema


def _plain_name(schema: Any) -> str | None:
    schema = schema.get("type") if isinstance(schema, dict) else schema
    return schema if isinstance(schema, str) else None


def _matching(branch: Any, reader: Any) -> Any:
    """The reader's type that a writer's union branch resolves to (only enums and records look at it)."""
    if not isinstance(reader, list):
        return reader
    for candidate in reader:
        if _plain_name(candidate) == _plain_name(branch):
            return candidate
    return None


def _reader_fields(reader: Any) -> dict[str, Any]:
    reader = _plain(reader)
    found: dict[str, Any] = {}
    if isinstance(reader, dict) and "fields" in reader:
        for member in reader["fields"]:
            for name in (member["name"], *member.get("aliases", ())):
                found[name] = member
    return found


def compile_program(
    writers: Mapping[int, Any],
    reader: Any,
    captures: Mapping[str, Capture],
    kinds: Mapping[str, int],
    fields: int,
) -> Program:
    """Compile one topic's schemas: `writers` by schema id, all resolved to `reader`, the current one.

    `captures` maps a path of the reader's schema (`amount`, `lines[].quantity`, `lines[]` for a count) to its
    destination; `kinds` an enum symbol to its code; `fields` is the width of the event's field vector.
    Raises `Fatal` for a schema that cannot be compiled and for a path the reader does not have.
    """
    merged = _Compiler(captures, kinds)
    _check_paths(reader, captures)
    ids = sorted(writers)
    entry = []
    initial = np.full((len(ids), fields), np.nan)
    for row, schema_id in enumerate(ids):
        entry.append(len(merged.code))
        merged.named = {}
        merged.compile(writers[schema_id], "", reader)
        merged.emit(END)
        _defaults(writers[schema_id], reader, captures, initial[row])
        for capture in captures.values():
            if capture.field >= 0 and capture.mode == BITS:
                initial[row, capture.field] = 0.0
    bounds = np.array([[-np.inf, np.inf]] * fields).reshape(fields, 2)
    for capture in captures.values():
        if capture.field >= 0:
            bounds[capture.field] = capture.low, capture.high
    return Program(
        np.array(merged.code, np.int64),
        np.array(merged.tables or [0], np.int64),
        np.array(merged.scales),
        np.array(ids, np.int64),
        np.array(entry, np.int64),
        initial,
        bounds,
    )


def _check_paths(reader: Any, captures: Mapping[str, Capture]) -> None:
    probe = _Seen({}, {})
    probe.compile(reader, "", reader)
    for path in captures:
        if path not in probe.paths:
            raise Fatal(f"no {path!r} in schema {reader.get('name')!r}; it has {sorted(probe.paths - {''})}")


class _Seen(_Compiler):
    """Compiles a schema only to learn which paths it has."""

    def __init__(self, captures: Mapping[str, Capture], kinds: Mapping[str, int]) -> None:
        super().__init__(captures, kinds)
        self.paths: set[str] = set()

    def compile(self, schema: Any, path: str, reader: Any = None) -> None:
        self.paths.add(path)
        super().compile(schema, path, reader)


def _defaults(writer: Any, reader: Any, captures: Mapping[str, Capture], initial: Any) -> None:
    """Numbers that the reader's schema gives to fields the writer did not know."""
    written = {member["name"] for member in writer["fields"]}
    for member in reader["fields"]:
        capture = captures.get(member["name"])
        names = {member["name"], *member.get("aliases", ())}
        default = member.get("default")
        if capture and capture.field >= 0 and not names & written and isinstance(default, (int, float)):
            initial[capture.field] = float(default)
