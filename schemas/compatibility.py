"""Tests whether data written with one Avro schema can be read with another.

The rules are those of "Schema Resolution" in the Avro specification, taken strictly: a pair is compatible
only when *every* record of the writer can be read, so each branch of a writer's union must be readable.
"""

from __future__ import annotations

from typing import Any

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

# reader type -> the writer types that are promoted to it
_PROMOTIONS = {
    "long": {"int"},
    "float": {"int", "long"},
    "double": {"int", "long", "float"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def compatible(reader: Any, writer: Any) -> list[str]:
    """Return what prevents `reader` (a schema as parsed JSON) from reading what `writer` wrote; empty: nothing.

    Each entry is one line that starts with the path of the field at fault: `sales_event.lines[].amount: ...`.

    >>> compatible("long", "int"), compatible("int", "long")
    ([], [': long cannot be read as int'])
    """
    check = _Check(_named(reader, None, {}), _named(writer, None, {}))
    check.resolve(reader, writer, _short(reader.get("name", "")) if isinstance(reader, dict) else "")
    return check.found


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _named(schema: Any, space: str | None, found: dict[str, Any]) -> dict[str, Any]:
    """Collect the named types of `schema` by full name, and by short name unless another type has it."""
    if isinstance(schema, list):
        for branch in schema:
            _named(branch, space, found)
    elif isinstance(schema, dict):
        kind = schema["type"]
        if kind in ("record", "enum", "fixed", "error"):
            name = schema["name"]
            space = schema.get("namespace", name.rpartition(".")[0] or space)
            found[f"{space}.{_short(name)}" if space else name] = schema
            found.setdefault(_short(name), schema)
            for field in schema.get("fields", ()):
                _named(field["type"], space, found)
        elif kind == "array":
            _named(schema["items"], space, found)
        elif kind == "map":
            _named(schema["values"], space, found)
        elif not isinstance(kind, str):
            _named(kind, space, found)
    return found


class _Check:
    """One comparison: the named types of both sides, and the faults found so far."""

    def __init__(self, readers: dict[str, Any], writers: dict[str, Any]) -> None:
        self.readers, self.writers = readers, writers
        self.found: list[str] = []
        self.seen: set[tuple[int, int]] = set()  # pairs of named types, so that a recursive schema ends

    def resolve(self, reader: Any, writer: Any, path: str) -> None:
        reader, writer = _open(reader, self.readers), _open(writer, self.writers)
        if isinstance(writer, list):
            for branch in writer:
                self.resolve(reader, branch, path)
            return
        if isinstance(reader, list):
            if not any(self._fits(branch, writer) for branch in reader):
                self.found.append(f"{path}: the reader's union has no branch for {_type(writer)}")
            return
        wanted, given = _type(reader), _type(writer)
        if wanted != given:
            if given not in _PROMOTIONS.get(wanted, ()):
                self.found.append(f"{path}: {given} cannot be read as {wanted}")
        elif wanted == "array":
            self.resolve(reader["items"], writer["items"], f"{path}[]")
        elif wanted == "map":
            self.resolve(reader["values"], writer["values"], f"{path}{{}}")
        elif wanted not in PRIMITIVES and (id(reader), id(writer)) not in self.seen:
            self.seen.add((id(reader), id(writer)))
            self._named_types(reader, writer, wanted, path)

    def _fits(self, reader: Any, writer: Any) -> bool:
        trial = _Check(self.readers, self.writers)
        trial.seen = set(self.seen)
        trial.resolve(reader, writer, "")
        return not trial.found

    def _named_types(self, reader: Any, writer: Any, kind: str, path: str) -> None:
        name = _short(writer["name"])
        if name not in {_short(known) for known in [reader["name"], *reader.get("aliases", ())]}:
            self.found.append(f"{path}: {kind} {name} is not {_short(reader['name'])} nor an alias of it")
        elif kind == "enum":
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if lost and "default" not in reader:
                self.found.append(f"{path}: the reader's enum has no default for {', '.join(lost)}")
        elif kind == "fixed":
            wanted, given = reader["size"], writer["size"]
            if wanted != given:
                self.found.append(f"{path}: fixed of {given} bytes cannot be read as {wanted} bytes")
        else:
            self._fields(reader, writer, path)

    def _fields(self, reader: Any, writer: Any, path: str) -> None:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{path}.{field['name']}"
            name = next((n for n in [field["name"], *field.get("aliases", ())] if n in written), None)
            if name is not None:
                self.resolve(field["type"], written[name]["type"], where)
            elif "default" not in field:
                self.found.append(f"{where}: not written, and the reader has no default for it")


def _open(schema: Any, named: dict[str, Any]) -> Any:
    """Return `schema` without references to named types and without needless {"type": {...}} wrappings."""
    while True:
        if isinstance(schema, str) and schema not in PRIMITIVES:
            schema = named[schema]
        elif isinstance(schema, dict) and not isinstance(schema["type"], str):
            schema = schema["type"]
        else:
            return schema


def _type(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)
