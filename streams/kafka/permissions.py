"""Checks a role's permissions at the broker before it runs: a client that is refused later would only try again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from streams.errors import Fatal, Retryable

from .connection import Kafka, as_connection

Operation = AclOperation
TRANSACTIONS = "transactional-id"  # brokers cannot be asked for the permissions on these
TIMEOUT_S = 10.0
_PAUSE_S = 0.2
_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
_NOT_THERE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Permission:
    """One ACL: `operation` on the topic or the group `name`."""

    kind: str  # topic, group or transactional-id (whose name is a prefix of the ids)
    name: str
    operation: AclOperation

    def __str__(self) -> str:
        return f"{self.operation.name.capitalize()} on {self.kind} {self.name}"


def check(kafka: Kafka, wanted: Sequence[Permission]) -> None:
    """Raise `Fatal` with a list of the permissions that are wanted but not given.

    A topic or group that does not exist, and that we may describe, counts as allowed.
    """
    admin = AdminClient({**as_connection(kafka).confluent(), "log_level": 0})
    wanted = [each for each in wanted if each.kind != TRANSACTIONS]
    places = list(dict.fromkeys((each.kind, each.name) for each in wanted))
    allowed: dict[tuple[str, str], set[AclOperation] | None] = {}
    until = time.monotonic() + TIMEOUT_S
    while len(allowed) < len(places):
        asked = _ask(admin, [place for place in places if place not in allowed])
        for place, future in asked.items():
            try:
                allowed[place] = set(future.result().authorized_operations or ())
            except KafkaException as error:
                told = error.args[0]
                if told.code() in _REFUSED:
                    allowed[place] = set()
                elif told.code() in _NOT_THERE:
                    allowed[place] = None
                elif time.monotonic() > until:
                    raise Retryable(f"{kafka}: cannot read the permissions on {place[1]}: {told}") from error
                else:  # such as a group's coordinator that has just started
                    time.sleep(_PAUSE_S)
    denied = [
        each
        for each in wanted
        if (may := allowed[each.kind, each.name]) is not None and each.operation not in may
    ]
    if denied:
        who = as_connection(kafka).user
        what = ", ".join(map(str, denied))
        raise Fatal(
            f"{kafka}: {who or 'our certificate'} lacks {what}; `streamwise topics --acls` prints what adds it"
        )


def _ask(admin: AdminClient, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    topics = [name for kind, name in places if kind == "topic"]
    groups = [name for kind, name in places if kind == "group"]
    given: dict[str, Any] = {"include_authorized_operations": True, "request_timeout": TIMEOUT_S}
    found: dict[tuple[str, str], Any] = {}
    if topics:
        told = admin.describe_topics(TopicCollection(topics), **given)
        found |= {("topic", name): future for name, future in told.items()}
    if groups:
        told = admin.describe_consumer_groups(groups, **given)
        found |= {("group", name): future for name, future in told.items()}
    return found
