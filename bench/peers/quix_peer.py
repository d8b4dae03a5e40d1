"""Quix Streams 3.28: a stateful apply on its RocksDB store with changelog topics.

It commits every 5 s, its default: less often than the engines that commit every second, which
favours it. Its changelog producer uses lz4 and a linger. A state is a list of numbers, which is short in
its JSON codec (orjson).
"""

from __future__ import annotations

import tempfile
import uuid

from quixstreams import Application, State

from bench.workload import Alert, SmallJob, decode

from .measure import Meter, Options, options

STATE_KEY = "s"


class Step:
    """The job as the function of a stateful apply; stops the application after its last event."""

    def __init__(self, work: Options, meter: Meter, app: Application) -> None:
        self._handle = SmallJob().handle
        self._last = work.events
        self._meter = meter
        self._app = app
        self._seen = 0
        self.alerts = 0

    def __call__(self, value: bytes, state: State) -> Alert | None:
        if not self._seen:
            self._meter.start()
        next_state, alert = self._handle(state.get(STATE_KEY), decode(value))
        state.set(STATE_KEY, next_state)
        self._seen += 1
        if alert is not None:
            self.alerts += 1
        if self._seen == self._last:
            self._meter.stop()
            self._app.stop()
        return alert


def run(work: Options) -> None:
    """Read the topic from its beginning until the last event."""
    name = f"quix-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix=name) as state_dir:
        app = Application(
            broker_address=work.bootstrap,
            consumer_group=name,
            auto_offset_reset="earliest",
            state_dir=state_dir,
            loglevel="ERROR",
            producer_extra_config={"compression.type": "lz4", "linger.ms": 50},
        )
        events = app.topic(work.topic, value_deserializer="bytes", key_deserializer="bytes")
        alerts = app.topic(work.alerts_topic, key_serializer="bytes", value_serializer="json")
        meter = Meter("quix", work.events)
        step = Step(work, meter, app)
        stream = app.dataframe(events).apply(step, stateful=True)
        stream.filter(lambda alert: alert is not None).to_topic(alerts)
        app.run()
    meter.report(step.alerts)


if __name__ == "__main__":
    run(options())
