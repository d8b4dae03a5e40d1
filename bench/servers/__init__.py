"""A real Kafka (one KRaft node, no Docker) a real Redis and a real PostgreSQL on free ports of 127.0.0.1.

    with KafkaServer() as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap})

`python -m bench.servers kafka start` leaves a broker running; `kafka stop` ends it.
"""

from bench.servers.kafka import KafkaServer, Locked
from bench.servers.postgres import PostgresServer
from bench.servers.process import ServerError
from bench.servers.redis import RedisServer

__all__ = ["KafkaServer", "Locked", "PostgresServer", "RedisServer", "ServerError"]
