"""Bytewax 0.21: Kafka source, keyed state, Kafka sink, one worker, recovery off.

Its recovery store is off by default and stays off, which favours it: a crash would lose the state. Its
workers are threads of one interpreter, so a second one would wait for the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Iterable

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import run_main

from bench.workload import Alert, Event, SmallJob, State, decode

from .measure import Meter, Options, options

BATCH_RECORDS = 5000


class Tally:
    """Counts the processed events; holds the one model of the worker."""

    def __init__(self, work: Options, meter: Meter) -> None:
        self.handle = SmallJob().handle
        self._last = work.events
        self._meter = meter
        self._seen = 0
        self.alerts = 0

    def decode_batch(self, messages: list[KafkaSourceMessage]) -> Iterable[tuple[str, Event]]:
        if not self._seen:
            self._meter.start()
        keyed = []
        for message in messages:
            event = decode(message.value)
            keyed.append((event["customer"], event))
        return keyed

    def add(self, seen: int, alerts: int) -> None:
        self._seen += seen
        self.alerts += alerts
        if self._seen == self._last:
            self._meter.stop()


class Customer(StatefulBatchLogic[Event, Alert, State]):  # type: ignore[misc]
    """One customer's state between batches."""

    def __init__(self, tally: Tally, resumed: State | None) -> None:
        self._tally = tally
        self._state = resumed

    def on_batch(self, values: list[Event]) -> tuple[Iterable[Alert], bool]:
        alerts = []
        handle, state = self._tally.handle, self._state
        for event in values:
            state, alert = handle(state, event)
            if alert is not None:
                alerts.append(alert)
        self._state = state
        self._tally.add(len(values), len(alerts))
        return alerts, StatefulBatchLogic.RETAIN

    def snapshot(self) -> State:
        return list(self._state or ())


def run(work: Options) -> None:
    """Read the topic from its beginning to its end."""
    meter = Meter("bytewax", work.events)
    tally = Tally(work, meter)
    brokers = [work.bootstrap]
    flow = Dataflow("small_job")
    source = KafkaSource(brokers, [work.topic], tail=False, batch_size=BATCH_RECORDS)
    messages = op.input("events", flow, source)
    keyed = op.flat_map_batch("decode", messages, tally.decode_batch)
    alerts = op.stateful_batch("fold", keyed, lambda resumed: Customer(tally, resumed))
    out = op.map("encode", alerts, lambda kv: KafkaSinkMessage(kv[0].encode(), orjson.dumps(kv[1])))
    # The sink waits for the broker after every batch, so each wait would include the whole linger.
    op.output("alerts", out, KafkaSink(brokers, work.alerts_topic, add_config={"linger.ms": "0"}))
    run_main(flow)
    meter.report(tally.alerts)


if __name__ == "__main__":
    run(options())
