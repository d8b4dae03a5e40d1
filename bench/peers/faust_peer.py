"""Stock Faust 0.15: an agent over stream.events(), a Table in memory with its changelog topic.

One stream, no transactions, web off. It uses orjson for JSON, and the compiled extension of its wheel for
the stream.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid

import faust
from faust.types import StreamT

from bench.workload import PARTITIONS, SmallJob, decode

from .measure import Meter, Options, options


def application(work: Options, data_dir: str) -> faust.App:
    """The app; its agent reports and ends the process after the last event."""
    app = faust.App(
        f"faust-{uuid.uuid4().hex[:8]}",
        broker=f"kafka://{work.bootstrap}",
        store="memory://",
        datadir=data_dir,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    events = app.topic(work.topic, key_serializer="raw", value_serializer="raw")
    alerts_topic = app.topic(work.alerts_topic, key_serializer="raw", value_serializer="json")
    states = app.Table("states", partitions=PARTITIONS)

    async def fold(stream: StreamT[bytes]) -> None:
        handle = SmallJob().handle
        meter = Meter("faust", work.events)
        seen = alerts = 0
        async for message in stream.events():
            if not seen:
                meter.start()
            event = decode(message.value)
            customer = event["customer"]
            states[customer], alert = handle(states.get(customer), event)
            seen += 1
            if alert is not None:
                alerts += 1
                await alerts_topic.send(key=customer.encode(), value=alert)
            if seen == work.events:
                meter.stop()
                await app.producer.flush()
                meter.report(alerts)
                shutil.rmtree(data_dir, ignore_errors=True)
                # A worker that an agent tells to stop waits for that agent for ever.
                os._exit(0)

    app.agent(events)(fold)
    return app


def run(work: Options) -> None:
    """Run the app's worker in this process; the agent ends it after the last event."""
    with tempfile.TemporaryDirectory(prefix="faust-") as data_dir:
        app = application(work, data_dir)
        faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    run(options())
