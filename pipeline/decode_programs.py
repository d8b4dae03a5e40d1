"""The Avro programs of the source topics: which fields of each schema become columns of a batch."""

from __future__ import annotations

import schemas
from customers.row import Features
from streams.avro import KIND, MESSAGE_ID, MODES, TIME, AvroProgram, Capture, compile_program


def decode_programs(features: Features) -> list[AvroProgram]:
    """One Avro program for each source topic."""
    kinds = {kind: number for number, kind in enumerate(features.kinds)}
    programs = []
    for source in features.sources:
        captures = {"time": Capture(TIME), "kind": Capture(KIND)}
        captures[schemas.EVENTS[source.schema]] = Capture(MESSAGE_ID)
        for number, field in enumerate(features.fields):
            if source.topic in field.paths:
                captures[field.paths[source.topic]] = Capture(
                    number, MODES[field.reduce], field.low, field.high
                )
        writers = {
            schemas.schema_id(source.schema, version): schemas.schema(source.schema, version)
            for version in schemas.versions(source.schema)
        }
        reader = schemas.schema(source.schema)
        programs.append(compile_program(writers, reader, captures, kinds, len(features.fields)))
    return programs
