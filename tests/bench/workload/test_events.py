"""The small job's events: the kernel's bytes against fastavro's, the job's alerts against a count."""

from __future__ import annotations

import io

import fastavro
import pytest

from bench.workload import events
from bench.workload.job import SCHEMA, SCHEMA_ID, SmallJob, State, decode


def framed(event: dict[str, object]) -> bytes:
    out = io.BytesIO()
    out.write(bytes([0, *SCHEMA_ID.to_bytes(4, "big")]))
    fastavro.schemaless_writer(out, SCHEMA, event)
    return out.getvalue()


def test_the_kernel_encodes_what_fastavro_encodes() -> None:
    chunk = next(events.chunks(2_000, 1_000_000))
    values = events.encode(chunk)
    decoded = [decode(value) for value in values]
    assert [framed(event) for event in decoded] == values
    assert [int(event["customer"][1:]) for event in decoded] == chunk.customer.tolist()
    assert [events.customer_key(value).decode() for value in values] == [
        event["customer"] for event in decoded
    ]
    spent = [event["value"] for event in decoded if event["kind"] == "order"]
    assert spent == chunk.value[chunk.kind == 3].tolist()
    assert decoded[7]["ts"] == events.FIRST_TS_MS + 7 * events.STEP_MS


def test_a_shorter_topic_is_a_prefix_of_a_longer_one() -> None:
    short = [value for chunk in events.chunks(150, 50) for value in events.encode(chunk)]
    long = [value for chunk in events.chunks(100_500, 50) for value in events.encode(chunk)]
    assert long[:150] == short
    assert decode(long[-1])["message_id"] == "m0000100499"


def test_the_job_gives_the_expected_alerts() -> None:
    job = SmallJob()
    states: dict[str, State] = {}
    alerts = 0
    for chunk in events.chunks(20_000, 100):
        for value in events.encode(chunk):
            event = decode(value)
            states[event["customer"]], alert = job.handle(states.get(event["customer"]), event)
            alerts += alert is not None
    assert alerts == events.expected_alerts(20_000, 100) > 0


def test_more_customers_than_the_key_has_digits_for_are_refused() -> None:
    with pytest.raises(ValueError, match="customers must be"):
        next(events.chunks(1, events.MAX_CUSTOMERS + 1))
