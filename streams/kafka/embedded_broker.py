"""The embedded broker: librdkafka's mock cluster, in this process. No Java, no Docker, nothing durable.

It keeps only a few megabytes of each partition and then drops the oldest records, so a producer must not run ahead of
its consumers. It creates a topic on the first request for it, always with `PARTITIONS` partitions.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from confluent_kafka import Producer

from streams.errors import Fatal

PARTITIONS = 4  # the mock cluster's default, which Python cannot change


class EmbeddedBroker:
    """A broker on a loopback port for as long as this object lives (a context manager)."""

    def __init__(self) -> None:
        # The client that owns the cluster keeps it alive. `log_level` 0 hides its warning that it is a mock.
        self._owner = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
        metadata = self._owner.list_topics(timeout=10)
        if not metadata.brokers:
            raise Fatal("the embedded broker did not start; install confluent-kafka anew")
        broker = next(iter(metadata.brokers.values()))
        self.bootstrap = f"{broker.host}:{broker.port}"

    def make_topics(self, names: Iterable[str]) -> None:
        """Create topics by a request for each."""
        client = Producer(
            {"bootstrap.servers": self.bootstrap, "allow.auto.create.topics": True, "log_level": 0}
        )
        for name in names:
            client.list_topics(name, timeout=10)

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.flush(0)
