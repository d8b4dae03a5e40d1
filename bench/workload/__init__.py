"""The events that benches send: the mix of the product, the small job, synthetic examples.

Promises: the same seed gives the same events; each synthetic source says that it is synthetic.
"""

from . import events, product_mix
from .events import chunks, create_topic, customer_key, encode
from .job import (
    ALERT_EVERY,
    DECAY_MS,
    KINDS,
    LEARNING_RATE,
    MAX_LOGIT,
    PARTITIONS,
    SCHEMA,
    SCHEMA_ID,
    Alert,
    Event,
    SmallJob,
    State,
    decode,
)
from .product_mix import Encoded
from .synthetic_examples import drawn

__all__ = [
    "ALERT_EVERY",
    "DECAY_MS",
    "KINDS",
    "LEARNING_RATE",
    "MAX_LOGIT",
    "PARTITIONS",
    "SCHEMA",
    "SCHEMA_ID",
    "Alert",
    "Encoded",
    "Event",
    "SmallJob",
    "State",
    "chunks",
    "create_topic",
    "customer_key",
    "decode",
    "drawn",
    "encode",
    "events",
    "product_mix",
]
