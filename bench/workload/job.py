"""The small job that every engine of `bench.engine` runs, so that their figures are comparable.

An event is Avro with Confluent framing (a zero byte, the schema id in 4 bytes, the body). For each
event, in the order of its partition:

1. The customer's five decayed sums (page, search, cart, order, spend) are multiplied by
   exp(-(ts - last event's ts) / DECAY_MS).
2. The job reads seven features: the five sums, log1p of the seconds since the last purchase (0 without
   one), log1p of the number of events so far.
3. A logistic regression, one for each task of the engine, predicts an order. If the event is a cart or
   an order it learns by one step of gradient descent.
4. The job adds the event to the sums. Every ALERT_EVERY-th event of a customer gives an alert.

The number of alerts depends only on the number of each customer's events, not on the order across
customers or partitions, so all engines must agree on it. This module is plain Python, which the Python
peers run, with a hand-written model so that they do not pay for a library.
"""

from __future__ import annotations

import io
from math import exp, log1p
from typing import Any

import fastavro

PARTITIONS = 4
SCHEMA_ID = 1
FRAME_BYTES = 5
KINDS = ("page", "search", "cart", "order")
SCHEMA_FIELDS = {
    "type": "record",
    "name": "WebEvent",
    "fields": [
        {"name": "message_id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "ts", "type": "long"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": list(KINDS)}},
        {"name": "url", "type": "string"},
        {"name": "product", "type": ["null", "string"]},
        {"name": "value", "type": ["null", "double"]},
    ],
}
SCHEMA = fastavro.parse_schema(SCHEMA_FIELDS)

DECAY_MS = 3.6e6
LEARNING_RATE = 0.01
ALERT_EVERY = 100
# Beyond it the logistic function is 0 or 1 in double precision, and exp() may overflow.
MAX_LOGIT = 35.0

Event = dict[str, Any]
Alert = dict[str, Any]
# [clock ms, events, last purchase ms or 0, page, search, cart, order, spend]: engines that store it as
# JSON write and read a list of numbers fastest.
State = list[float]


def decode(value: bytes) -> Event:
    """Decode the event in a framed Kafka value."""
    body = io.BytesIO(value)
    body.seek(FRAME_BYTES)
    event: Event = fastavro.schemaless_reader(body, SCHEMA, None)
    return event


class SmallJob:
    """The job with its model; each task of an engine has its own."""

    def __init__(self) -> None:
        self.weights = (0.0,) * 7
        self.bias = 0.0

    def handle(self, state: State | None, event: Event) -> tuple[State, Alert | None]:
        """Return the customer's next state, and the alert if this event gives one.

        The code is unrolled over the features, as a loop costs CPython more than the arithmetic in it.
        """
        ts = event["ts"]
        if state is None:
            state = [ts, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0]
        clock, count, last_purchase, page, search, cart, order, spend = state
        fade = exp((clock - ts) / DECAY_MS)
        page *= fade
        search *= fade
        cart *= fade
        order *= fade
        spend *= fade
        recency = log1p((ts - last_purchase) / 1e3) if last_purchase else 0.0
        experience = log1p(count)

        w0, w1, w2, w3, w4, w5, w6 = self.weights
        logit = self.bias + w0 * page + w1 * search + w2 * cart + w3 * order
        logit += w4 * spend + w5 * recency + w6 * experience
        if logit > MAX_LOGIT:
            logit = MAX_LOGIT
        elif logit < -MAX_LOGIT:
            logit = -MAX_LOGIT
        p = 1.0 / (1.0 + exp(-logit))

        kind = event["kind"]
        if kind == "page":
            page += 1.0
        elif kind == "search":
            search += 1.0
        else:
            step = LEARNING_RATE * (p - (kind == "order"))
            self.bias -= step
            self.weights = (
                w0 - step * page,
                w1 - step * search,
                w2 - step * cart,
                w3 - step * order,
                w4 - step * spend,
                w5 - step * recency,
                w6 - step * experience,
            )
            if kind == "cart":
                cart += 1.0
            else:
                order += 1.0
        value = event["value"]
        if value:
            spend += value
            last_purchase = ts
        count += 1
        alert = None
        if count % ALERT_EVERY == 0:
            alert = {"customer": event["customer"], "p": p, "ts": ts}
        return [ts, count, last_purchase, page, search, cart, order, spend], alert
