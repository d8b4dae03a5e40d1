"""A Faust app on the raw-batch transport: one place for the settings whose Faust defaults do not suit us."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.types.tuples import TP

from streams.batches import RawBatch
from streams.kafka import Kafka, as_connection

from .consumer import Consumer
from .raw_records import SCHEME, install

COMMIT_INTERVAL_S = 1.0
SESSION_TIMEOUT_S = 6.0  # after a kill the group waits this long before it rebalances
HEARTBEAT_S = 1.5
FETCH_BYTES = 2 << 20  # of one partition in one fetch: large folds, whose data the caches still hold
GIL_SWITCH_S = 0.0005  # the longest that the fetch thread waits for the interpreter (5 ms by default)


class App(faust.App):  # type: ignore[misc]
    """A role's app. `streams.transport.consumer` and `streams.durability.row_table` call the hooks below."""

    committer: Callable[[Consumer], Awaitable[bool]]
    backlog: Callable[[TP], bool]
    before_live: Callable[[set[int]], Awaitable[None]]
    fetched: Callable[[str, RawBatch], None]
    bundled: frozenset[str]
    hurried: bool  # partitions are being handed over: work that is spread over time must be done now


async def _commit_nothing(consumer: Consumer) -> bool:
    return False


async def _nothing_before(partitions: set[int]) -> None:
    return None


def make_app(
    role: str, bootstrap: Kafka, *, partitions: int, standbys: int = 0, commit_interval_s: float = COMMIT_INTERVAL_S,
    **settings: Any,
) -> App:  # fmt: skip
    """Make the app of one role. `role` is the consumer group's name."""
    install()
    sys.setswitchinterval(GIL_SWITCH_S)
    app = App(
        role,
        broker=[f"{SCHEME}://{address}" for address in as_connection(bootstrap).addresses],
        **as_connection(bootstrap).faust(),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,  # `streamwise topics` creates them
        topic_disable_leader=True,
        topic_partitions=partitions,
        topic_replication_factor=1,
        table_standby_replicas=standbys,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_commit_interval=commit_interval_s,
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        recovery_consistency_check=False,
        stream_wait_empty=False,
        **settings,
    )
    app.committer = _commit_nothing
    app.backlog = lambda tp: False
    app.before_live = _nothing_before
    app.fetched = lambda topic, batch: None
    app.bundled = frozenset()
    app.hurried = False
    return app
