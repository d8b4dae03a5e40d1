"""Compiles the Avro programs of the source topics: which fields of each schema become columns of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import schemas
from customers.row import Features, FieldSpec
from streams.avro import KIND, MESSAGE_ID, MODES, TIME, AvroProgram, Capture, check_paths, compile_program
from streams.errors import Fatal


def decode_programs(features: Features) -> list[AvroProgram]:
    """Compile an Avro program for each source topic. Raises `ConfigError` for a field that its events lack."""
    kinds = {kind: number for number, kind in enumerate(features.kinds)}
    programs = []
    for source in features.sources:
        own = {"time": Capture(TIME), "kind": Capture(KIND)}
        own[schemas.EVENTS[source.schema]] = Capture(MESSAGE_ID)
        captures = {
            field.paths[source.topic]: Capture(number, MODES[field.reduce], field.low, field.high)
            for number, field in enumerate(features.fields)
            if source.topic in field.paths
        }
        writers = {
            schemas.schema_id(source.schema, version): schemas.schema(source.schema, version)
            for version in schemas.versions(source.schema)
        }
        reader = schemas.schema(source.schema)
        for field in features.fields:
            if (path := field.paths.get(source.topic)) is not None:
                _check_path(field, source.topic, reader, {path: captures[path]})
        programs.append(compile_program(writers, reader, own | captures, kinds, len(features.fields)))
    return programs


def _check_path(field: FieldSpec, topic: str, reader: Any, capture: Mapping[str, Capture]) -> None:
    """Raise `ConfigError` if events of `topic` lack the value, or if its type does not allow the reduction."""
    try:
        check_paths(reader, capture)
    except Fatal as error:
        raise field.place.error(f"{topic}: expected a value of its events: {error}", topic) from error
