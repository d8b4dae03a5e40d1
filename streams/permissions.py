"""What a role may do at the broker is asked before it runs: a client that is refused later would only try again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from .access import Kafka, access
from .errors import Fatal, Retryable

Operation = AclOperation
TIMEOUT_S = 10.0
_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


@dataclass(frozen=True, slots=True)
class Permission:
    """One ACL: `operation` on the topic or the group `name`."""

    kind: str  # topic or group
    name: str
    operation: AclOperation

    def __str__(self) -> str:
        return f"{self.operation.name.capitalize()} on {self.kind} {self.name}"


def check(kafka: Kafka, wanted: Sequence[Permission]) -> None:
    """Raise `Fatal` that lists what is wanted and not allowed. A topic that is not there is not judged."""
    admin = AdminClient({**access(kafka).confluent(), "log_level": 0})
    topics = list(dict.fromkeys(each.name for each in wanted if each.kind == "topic"))
    groups = list(dict.fromkeys(each.name for each in wanted if each.kind == "group"))
    asked: dict[tuple[str, str], Any] = {}
    given: dict[str, Any] = {"include_authorized_operations": True, "request_timeout": TIMEOUT_S}
    if topics:
        found = admin.describe_topics(TopicCollection(topics), **given)
        asked |= {("topic", name): future for name, future in found.items()}
    if groups:
        found = admin.describe_consumer_groups(groups, **given)
        asked |= {("group", name): future for name, future in found.items()}
    allowed = {place: _allowed(future) for place, future in asked.items()}
    denied = [
        each
        for each in wanted
        if (may := allowed[each.kind, each.name]) is not None and each.operation not in may
    ]
    if denied:
        who = access(kafka).user or "this principal"
        raise Fatal(
            f"{kafka}: {who} lacks {', '.join(map(str, denied))}; `streamwise topics --acls` prints what adds it"
        )


def _allowed(future: Any) -> set[AclOperation] | None:
    """What we may do there, all of it; None when there is no such thing."""
    try:
        return set(future.result().authorized_operations or ())
    except KafkaException as error:
        code = error.args[0].code()
        if code in _REFUSED:
            return set()
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise Retryable(f"the permissions cannot be asked for: {error.args[0].str()}") from error
