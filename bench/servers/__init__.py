"""A real Kafka (one KRaft node, no Docker) a real Redis and a real PostgreSQL on free ports of 127.0.0.1.

    with KafkaServer() as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap})

`python -m bench.servers kafka start` leaves a broker running; `kafka stop` ends it.
"""

from .kafka import KafkaServer, Locked
from .postgres import PostgresServer
from .process import ServerError
from .redis import RedisServer

__all__ = ["KafkaServer", "Locked", "PostgresServer", "RedisServer", "ServerError"]
