"""A bare confluent-kafka loop: consume() in batches, fastavro, a dict of states, no durability.

This is what a team writes without a framework. It commits nothing, and no state outlives the process.
"""

from __future__ import annotations

import uuid

import orjson
from confluent_kafka import Consumer, Producer

from bench.workload import SmallJob, State, decode

from .measure import Meter, Options, options

BATCH_RECORDS = 5000


def run(work: Options) -> None:
    """Read the topic from its beginning, event by event."""
    consumer = Consumer(
        {
            "bootstrap.servers": work.bootstrap,
            "group.id": f"bare-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.min.bytes": 65_536,
            "queued.min.messages": 500_000,
        }
    )
    consumer.subscribe([work.topic])
    producer = Producer({"bootstrap.servers": work.bootstrap, "linger.ms": 20})
    states: dict[str, State] = {}
    handle = SmallJob().handle
    seen = alerts = 0
    meter = Meter("bare", work.events)
    while seen < work.events:
        messages = consumer.consume(BATCH_RECORDS, 1.0)
        if messages and not seen:
            meter.start()
        for message in messages:
            event = decode(message.value())
            customer = event["customer"]
            states[customer], alert = handle(states.get(customer), event)
            if alert is not None:
                alerts += 1
                producer.produce(work.alerts_topic, key=customer, value=orjson.dumps(alert))
        seen += len(messages)
        producer.poll(0)
    meter.stop()
    producer.flush()
    consumer.close()
    meter.report(alerts)


if __name__ == "__main__":
    run(options())
