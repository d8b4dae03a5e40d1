"""Starts a real Kafka (one KRaft node, no Docker), Redis and PostgreSQL on free ports of 127.0.0.1.

    with KafkaServer() as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap})

`python -m bench.servers kafka start` leaves a broker running; `kafka stop` ends it.

Promises: a server ends with the process that started it; one that cannot start raises a `ServerError` of one line.
"""

from .kafka import KafkaServer, Locked
from .postgres import PostgresServer
from .process import Missing, Server, ServerError, end_on_sigterm, free_ports, require, run_once
from .redis import RedisServer

__all__ = [
    "KafkaServer",
    "Locked",
    "Missing",
    "PostgresServer",
    "RedisServer",
    "Server",
    "ServerError",
    "end_on_sigterm",
    "free_ports",
    "require",
    "run_once",
]
