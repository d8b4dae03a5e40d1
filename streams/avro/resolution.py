"""Finds the part of the reader's schema that a part of the writer's resolves to (Avro, "Schema Resolution")."""

from __future__ import annotations

from typing import Any

# writer's type -> the reader's types to which Avro promotes it
_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


class ReaderSchema:
    """The reader's schema with its named types."""

    def __init__(self, schema: Any) -> None:
        self._named: dict[str, Any] = {}
        self._learn(schema)

    def _learn(self, schema: Any) -> None:
        if isinstance(schema, list):
            for branch in schema:
                self._learn(branch)
        elif isinstance(schema, dict):
            if "name" in schema:
                self._named[full_name(schema)] = self._named[schema["name"]] = schema
            for member in schema.get("fields", ()):
                self._learn(member["type"])
            for part in ("items", "values", "type"):
                if not isinstance(schema.get(part), str):
                    self._learn(schema.get(part))

    def opened(self, schema: Any) -> Any:
        """Resolve names and unwrap {"type": {...}}, to a dict or to the list of a union."""
        while True:
            if isinstance(schema, str):
                schema = self._named.get(schema, {"type": schema})
                if schema.get("type") in self._named:
                    schema = schema["type"]
            elif isinstance(schema, dict) and (
                not isinstance(schema["type"], str) or schema["type"] in self._named
            ):
                schema = schema["type"]
            else:
                return schema

    def chosen(self, writer: dict[str, Any], reader: Any) -> Any:
        """Return the reader's type for a writer's type that is no union: of a union the branch that fits, or None."""
        reader = self.opened(reader)
        if not isinstance(reader, list):
            return reader
        branches = [self.opened(branch) for branch in reader]
        kind = writer["type"]
        alike = [branch for branch in branches if branch["type"] == kind]
        if "name" in writer:
            short = _short(writer["name"])
            alike = [b for b in alike if short in map(_short, (b["name"], *b.get("aliases", ())))]
        promoted = [branch for branch in branches if branch["type"] in _PROMOTIONS.get(kind, ())]
        return next(iter([*alike, *promoted]), None)

    def fields(self, reader: Any) -> dict[str, Any]:
        """Return the fields of the reader's record by their names and aliases."""
        found: dict[str, Any] = {}
        if isinstance(reader, dict):
            for member in reader.get("fields", ()):
                for name in (member["name"], *member.get("aliases", ())):
                    found[name] = member
        return found


def full_name(schema: Any) -> str:
    """Return `namespace.name` of a named type."""
    space = schema.get("namespace")
    return f"{space}.{schema['name']}" if space and "." not in schema["name"] else str(schema["name"])


def _short(name: str) -> str:
    return name.rpartition(".")[2]
