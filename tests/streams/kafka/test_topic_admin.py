"""streams/kafka/topic_admin.py against a real broker: several roles that start at once make each topic once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from bench.servers import KafkaServer
from streams.errors import Fatal
from streams.kafka.topic_admin import TopicSpec, ensure

ROLES = 4


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with KafkaServer() as kafka:
        yield kafka.bootstrap


def test_roles_that_start_at_once_make_each_topic_once(bootstrap: str) -> None:
    specs = {name: TopicSpec(name) for name in (f"topic-{number}" for number in range(20))}
    together = Barrier(ROLES)

    def start(_: int) -> dict[str, str]:
        together.wait()
        return ensure(bootstrap, specs, partitions=3, replication=1)

    with ThreadPoolExecutor(ROLES) as pool:
        reports = list(pool.map(start, range(ROLES)))
    for name in specs:
        assert sorted(report[name] for report in reports) == ["as it is"] * (ROLES - 1) + ["created"]


def test_a_topic_with_another_number_of_partitions_is_refused(bootstrap: str) -> None:
    ensure(bootstrap, {"few": TopicSpec("few")}, partitions=2, replication=1)
    with pytest.raises(Fatal, match="topic few has 2 partitions, expected 3: set STREAMWISE_PARTITIONS=2"):
        ensure(bootstrap, {"few": TopicSpec("few")}, partitions=3, replication=1)


def test_what_is_missing_is_named_where_it_may_not_be_made(bootstrap: str) -> None:
    with pytest.raises(Fatal, match="topics are missing: absent; make them with `streamwise topics`"):
        ensure(bootstrap, {"absent": TopicSpec("absent")}, partitions=2, replication=1, create=False)
