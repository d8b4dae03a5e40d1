"""Outputs through librdkafka: what is acknowledged is counted, what is refused ends the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import schemas
from streams.engine.engine import LETTER_BYTES
from streams.engine.outbox import Outbox
from streams.errors import Fatal
from streams.kafka.embedded_broker import EmbeddedBroker
from streams.kafka.producer import Outputs
from tests.doubles import Rig
from tests.reference import batches
from tests.reference.record import Record


@pytest.fixture(scope="module")
def outputs() -> Iterator[Outputs]:
    with EmbeddedBroker() as broker:
        broker.make_topics(["t"])
        found = Outputs({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        yield found
        found.flush(5)


def test_settled_waits_for_everything_up_to_its_epoch(outputs: Outputs) -> None:
    landed: list[int] = []
    outputs.send("t", [{"key": b"k", "value": b"%d" % n} for n in range(2000)], 0)
    outputs.send_one("t", b"k", b"last", 0, landed.append)
    epoch = outputs.begin_epoch()
    assert outputs.outstanding(epoch) > 0
    asyncio.run(asyncio.wait_for(outputs.settled(epoch), 10))
    assert outputs.outstanding(epoch) == 0
    assert landed == [2000]


def test_a_record_that_no_broker_takes_ends_the_worker_and_does_not_hang_it(outputs: Outputs) -> None:
    messages = [{"key": b"k", "value": bytes(2_000_000)}, {"key": b"k", "value": b"good"}]
    with pytest.raises(Fatal, match=r"output to t cannot be produced.*too large"):
        outputs.send("t", messages, 0)


def test_a_dead_letter_of_a_huge_value_fits() -> None:
    rig = Rig()
    value = b"\0\0\0\0\1" + b"\xff" * 1_500_000
    rig.receive("web.events", 0, batches.batch([Record("web.events", 0, 0, b"k", value, 0)], "zstd"))
    (letter,) = rig.dead_letters()
    assert letter["value"] == value[:LETTER_BYTES]
    assert (letter["topic"], letter["offset"]) == ("web.events", 0)
    assert len(rig.outputs.sent[0].value) < 1_000_000
    assert schemas.decode(rig.outputs.sent[0].value)[0] == "dead_letter"


def test_an_outbox_has_room_for_all_that_one_event_may_cause() -> None:
    outbox = Outbox(records=1, data_bytes=10)
    outbox.data[:] = 7
    outbox.ensure(100, 5)
    assert (len(outbox.data), len(outbox.at), len(outbox.label)) == (500, 5, 5)
    assert outbox.data[:10].tolist() == [7] * 10
