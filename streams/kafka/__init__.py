"""Clients of the broker: connection, topics, producer, readers, probes.

Promises: every wait is bounded; every refusal gives one line that says what to do.
"""

from .broker_probe import BrokerProbe
from .committed_offsets import committed
from .connection import Kafka, KafkaConnection, as_connection, librdkafka_settings
from .embedded_broker import PARTITIONS, EmbeddedBroker
from .permissions import TRANSACTIONS, Operation, Permission, check
from .producer import Outputs
from .topic_admin import TopicSpec, ensure, existing, topic_id
from .topic_feed import WAIT_S, TopicFeed
from .topic_reader import TIMEOUT_S, Record, open_consumer, read_to_end
from .wait_for_broker import PATIENCE_S, reach

__all__ = [
    "PARTITIONS",
    "PATIENCE_S",
    "TIMEOUT_S",
    "TRANSACTIONS",
    "WAIT_S",
    "BrokerProbe",
    "EmbeddedBroker",
    "Kafka",
    "KafkaConnection",
    "Operation",
    "Outputs",
    "Permission",
    "Record",
    "TopicFeed",
    "TopicSpec",
    "as_connection",
    "check",
    "committed",
    "ensure",
    "existing",
    "librdkafka_settings",
    "open_consumer",
    "reach",
    "read_to_end",
    "topic_id",
]
