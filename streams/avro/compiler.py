"""Step 3, second half: compiles a writer's Avro schema to a program that a kernel runs over raw bodies.

A program reads every byte of a record, within the record's own length, and checks strings as UTF-8. It keeps
only the captured values: the event's time, kind, message id and fields. It accepts nothing that fastavro would
refuse. `compile_program` compiles; `streams.avro.decoder` runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from streams.errors import Fatal
from streams.kernels import hash_text

from .resolution import ReaderSchema, full_name

# opcodes: each instruction is int64[5] = (opcode, destination, mode, a, b)
(END, SKIP_NULL, BOOL, LONG, FLOAT, DOUBLE, BYTES, STRING, FIXED, ENUM, UNION, JUMP, BLOCK, LOOP, DECIMAL, ZERO,
 CONSTANT, TALLY) = range(18)  # fmt: skip
# destinations below zero are not fields
NOWHERE, TIME, KIND, MESSAGE_ID = -1, -2, -3, -4
# modes: how a value reduces into its destination
SET, SUM, COUNT, BITS = range(4)
MODES = {"last": SET, "sum": SUM, "count": COUNT, "bits": BITS}

_INT_SCALES_MS = {  # ms in a unit of an integer logical type; below 0: a divisor, as a factor of 0.001 is not exact
    "timestamp-millis": 1.0,
    "timestamp-micros": -1e3,
    "local-timestamp-millis": 1.0,
    "local-timestamp-micros": -1e3,
    "date": 86_400_000.0,
}
MAX_DEPTH = 8  # nested arrays and maps


@dataclass(frozen=True, slots=True)
class Capture:
    """The destination of a value: `field` (a column, or TIME, KIND, MESSAGE_ID), its reducer and its bounds."""

    field: int
    mode: int = SET
    low: float = -np.inf
    high: float = np.inf


class AvroProgram(NamedTuple):
    """The concatenated programs of all schema ids of one topic, as kernels take them.

    code: int64[n, 5], the instructions
    tables: int64[m], jump targets of unions, kinds or hashes of enum symbols
    scales: float64[k], factors (below 0: divisors) and constants
    ids: int64[s], the schema ids, sorted; entry: int64[s], the first instruction of each
    initial: float64[s, f], a field's value if the record lacks it (NaN; 0 for the bits of a lone string)
    bounds: float64[f, 2]
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
    readers: ReaderSchema
    code: list[list[int]] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    scales: list[float] = field(default_factory=lambda: [1.0])
    named: dict[str, Any] = field(default_factory=dict)
    open_names: list[str] = field(default_factory=list)
    counted: set[str] = field(
        default_factory=set
    )  # arrays whose blocks are counted, not their items one by one
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
        """Emit the code that reads `schema`; `reader` is the reader schema's type at the same place."""
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
        if isinstance(kind, (dict, list)) or kind in self.named:
            self.compile(kind, path, reader)
            return
        reader = self.readers.chosen(schema, reader)
        capture = self.captures.get(path)
        if capture and capture.mode == COUNT and kind != "null":
            if path not in self.counted:
                self.emit(TALLY, capture)
            capture = None
        if kind in ("record", "error"):
            self._record(schema, path, reader)
        elif kind == "enum":
            self._enum(schema, capture, reader)
        elif kind in ("array", "map"):
            self._blocks(schema, kind, path, reader)
        else:
            self._primitive(schema, kind, capture, path, reader)

    def _record(self, schema: Any, path: str, reader: Any) -> None:
        name = full_name(schema)
        self.named[name] = schema
        self.named[schema["name"]] = schema
        self.open_names += [name, schema["name"]]
        readers = self.readers.fields(reader)
        for member in schema["fields"]:
            target = readers.get(member["name"])
            reader_name = target["name"] if target else member["name"]
            child = reader_name if not path else f"{path}.{reader_name}"
            if reader is not None and target is None:
                child = f"{child} (unknown to the reader)"  # skipped, never captured
            self.compile(member["type"], child, target["type"] if target else None)
        written = {member["name"] for member in schema["fields"]}
        for target in {id(t): t for t in readers.values()}.values():
            if "default" in target and not {target["name"], *target.get("aliases", ())} & written:
                child = f"{path}.{target['name']}" if path else target["name"]
                self._constant(target["type"], target["default"], child)
        del self.open_names[-2:]

    def _constant(self, schema: Any, value: Any, path: str) -> None:
        """Emit the reader's default of a field that the writer did not know."""
        schema = self.readers.opened(schema)
        if isinstance(schema, list):  # a default has the type of the first branch
            schema = self.readers.opened(schema[0])
        kind = schema["type"]
        capture = self.captures.get(path)
        if value is not None and capture and capture.mode == COUNT:
            self.emit(TALLY, capture)
        if kind == "record":
            for member in schema["fields"]:
                inside = value.get(member["name"], member.get("default"))
                self._constant(member["type"], inside, f"{path}.{member['name']}")
        elif kind in ("array", "map"):
            child = f"{path}[]" if kind == "array" else f"{path}{{}}"
            self._zeros(child, outermost=True)
            for item in value if kind == "array" else value.values():
                self._constant(schema["items" if kind == "array" else "values"], item, child)
        elif value is not None and capture and capture.field >= 0 and capture.mode != COUNT:
            if isinstance(value, str):
                number = hash_text(value)
            else:
                factor = _INT_SCALES_MS.get(schema.get("logicalType"), 1.0)
                number = value * factor if factor > 0 else value / -factor
            self.emit(CONSTANT, capture, self.scale(number))

    def _enum(self, schema: Any, capture: Capture | None, reader: Any) -> None:
        self.named[full_name(schema)] = self.named[schema["name"]] = schema
        symbols = schema["symbols"]
        start = len(self.tables)
        known = set(reader["symbols"]) if isinstance(reader, dict) and "symbols" in reader else set(symbols)
        default = reader.get("default") if isinstance(reader, dict) else None
        for symbol in symbols:
            resolved = symbol if symbol in known else default
            if resolved is None:
                self.tables.append(-2)
            elif capture and capture.field >= 0:  # as a field, a symbol is a string
                self.tables.append(int(hash_text(resolved)))
            else:
                self.tables.append(self.kinds.get(resolved, -1))
        self._check_mode(capture, "enum")
        self.emit(ENUM, capture, start, len(symbols))

    def _union(self, branches: Sequence[Any], path: str, reader: Any) -> None:
        start = len(self.tables)
        self.tables.extend([0] * len(branches))
        self.emit(UNION, None, start, len(branches))
        ends = []
        for number, branch in enumerate(branches):
            self.tables[start + number] = len(self.code)
            self.compile(branch, path, reader)
            ends.append(self.emit(JUMP))
        for at in ends:
            self.code[at][3] = len(self.code)

    def _blocks(self, schema: Any, kind: str, path: str, reader: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Fatal(f"{path}: arrays and maps nested deeper than {MAX_DEPTH} cannot be compiled")
        child = f"{path}[]" if kind == "array" else f"{path}{{}}"
        items = schema["items" if kind == "array" else "values"]
        counter = self.captures.get(child)
        plain = isinstance(items, dict) and items["type"] in ("record", "array", "map")
        if counter is not None and counter.mode == COUNT and plain:
            self.counted.add(child)  # count whole blocks: none of their items can be null
        else:
            counter = None
            self.counted.discard(child)
        self._zeros(child, outermost=self.depth == 1)
        block = self.emit(BLOCK, counter, 0, self.depth - 1)
        body = len(self.code)
        if kind == "map":
            self.emit(STRING)
        inner = reader.get("items" if kind == "array" else "values") if isinstance(reader, dict) else None
        self.compile(items, child, inner)
        self.emit(LOOP, None, body, self.depth - 1)
        self.code[block][3] = len(self.code)
        self.depth -= 1

    def _zeros(self, child: str, *, outermost: bool) -> None:
        """Emit zeros for sums, counts and bits: an empty array gives 0, a missing array leaves them absent."""
        for path, inside in self.captures.items():
            # bits can look like NaN once some are set, so that only the outermost array may test for NaN
            if path.startswith(child) and (
                inside.mode in (SUM, COUNT) or (inside.mode == BITS and outermost)
            ):
                self.emit(ZERO, inside)

    def _check_mode(self, capture: Capture | None, kind: str) -> None:
        """Raise `Fatal` for the sum of a text or the bits of anything but a string."""
        text = kind in ("string", "bytes", "fixed", "enum")
        if capture and (
            (capture.mode == SUM and text) or (capture.mode == BITS and kind not in ("string", "bytes"))
        ):
            raise Fatal(f"a value of type {kind} cannot be reduced by {'sum' if text else 'bits'}")

    def _primitive(self, schema: Any, kind: str, capture: Capture | None, path: str, reader: Any) -> None:
        logical = schema.get("logicalType")
        if kind == "fixed":
            self.named[full_name(schema)] = self.named[schema["name"]] = schema
        if kind != "null":
            self._check_mode(capture, "decimal" if logical == "decimal" else kind)
        if logical == "decimal" and kind in ("bytes", "fixed"):
            size = schema["size"] if kind == "fixed" else -1
            self.emit(DECIMAL, capture, self.scale(-(10.0 ** schema.get("scale", 0))), size)
        elif kind == "null":
            self.emit(SKIP_NULL)
        elif kind == "boolean":
            self.emit(BOOL, capture)
        elif kind in ("int", "long"):
            self.emit(LONG, capture, self.scale(_INT_SCALES_MS.get(logical, 1.0)))
        elif kind in ("float", "double"):
            self.emit(FLOAT if kind == "float" else DOUBLE, capture)
        elif kind in ("string", "bytes"):
            # bytes that the reader takes as a string must be UTF-8, too: fastavro decodes them
            as_text = kind == "string" or (isinstance(reader, dict) and reader["type"] == "string")
            self.emit(STRING if as_text else BYTES, capture)
        elif kind == "fixed":
            self.emit(FIXED, capture, schema["size"])
        else:
            raise Fatal(f"{path}: Avro type {kind!r} is not known")


def compile_program(
    writers: Mapping[int, Any],
    reader: Any,
    captures: Mapping[str, Capture],
    kinds: Mapping[str, int],
    fields: int,
) -> AvroProgram:
    """Compile one topic's schemas: `writers` by schema id, all resolved to `reader`, the current schema.

    `captures` maps a path of the reader's schema (`amount`, `lines[].quantity`, `lines[]` for a count) to its
    destination, `kinds` an enum symbol to its code. `fields` is the width of the event's field vector.
    Raises `Fatal` for a schema that cannot be compiled and for a path that the reader lacks.

    >>> sale = {"type": "record", "name": "sale", "fields": [{"name": "amount", "type": "double"}]}
    >>> program = compile_program({7: sale}, sale, {"amount": Capture(0, low=0.0)}, kinds={}, fields=1)
    >>> program.code[:, 0].tolist() == [DOUBLE, END], program.ids.tolist(), program.bounds.tolist()
    (True, [7], [[0.0, inf]])
    """
    merged = _Compiler(captures, kinds, ReaderSchema(reader))
    check_paths(reader, captures)
    ids = sorted(writers)
    entry = []
    initial = np.full((len(ids), fields), np.nan)
    for row, schema_id in enumerate(ids):
        entry.append(len(merged.code))
        merged.named = {}
        merged.compile(writers[schema_id], "", reader)
        merged.emit(END)
        for path, capture in captures.items():
            if capture.field >= 0 and capture.mode == BITS and "[]" not in path and "{}" not in path:
                initial[row, capture.field] = 0.0
    bounds = np.array([[-np.inf, np.inf]] * fields).reshape(fields, 2)
    for capture in captures.values():
        if capture.field >= 0:
            bounds[capture.field] = capture.low, capture.high
    return AvroProgram(
        np.array(merged.code, np.int64),
        np.array(merged.tables or [0], np.int64),
        np.array(merged.scales),
        np.array(ids, np.int64),
        np.array(entry, np.int64),
        initial,
        bounds,
    )


def check_paths(reader: Any, captures: Mapping[str, Capture]) -> None:
    """Raise `Fatal` for a path that `reader` lacks, or one whose value does not allow the reduction.

    >>> sale = {"type": "record", "name": "sale", "fields": [{"name": "amount", "type": "double"}]}
    >>> check_paths(sale, {"amount": Capture(0)})
    >>> check_paths(sale, {"price": Capture(0)})
    Traceback (most recent call last):
    streams.errors.Fatal: no 'price' in schema 'sale'; it has ['amount']
    """
    probe = _PathFinder(captures, {}, ReaderSchema(reader))
    probe.compile(reader, "", reader)
    for path in captures:
        if path not in probe.paths:
            raise Fatal(f"no {path!r} in schema {reader.get('name')!r}; it has {sorted(probe.paths - {''})}")


class _PathFinder(_Compiler):
    """Compiles a schema only to find its paths."""

    def __init__(
        self, captures: Mapping[str, Capture], kinds: Mapping[str, int], readers: ReaderSchema
    ) -> None:
        super().__init__(captures, kinds, readers)
        self.paths: set[str] = set()

    def compile(self, schema: Any, path: str, reader: Any = None) -> None:
        self.paths.add(path)
        super().compile(schema, path, reader)
