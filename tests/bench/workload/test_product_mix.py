"""The mix of events: what its kernel writes are events of the schemas as they are now, to the last byte."""

from __future__ import annotations

import schemas
from bench.workload import product_mix as mix


def test_the_kernel_writes_what_the_schemas_say() -> None:
    for encoded in mix.part(0, 3_000, 50, first_ms=1.7e12, step_ms=100.0):
        name = schemas.TOPICS[encoded.topic]
        assert encoded.values
        for value in encoded.values:
            assert schemas.encode(name, schemas.decode(value)[1]) == value
