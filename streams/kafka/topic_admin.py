"""Creates and checks topics before anything runs; nothing relies on a broker that creates them by itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

from streams.errors import Fatal, Retryable

from .connection import Kafka, as_connection, librdkafka_settings

TIMEOUT_S = 10.0
_LOOK_S = 0.1
_TRY_S = 1.0  # how long to wait for an answer before looking for the error
# errors that no retry mends, and the settings to check
CHECK = {
    KafkaError._AUTHENTICATION: "STREAMWISE_KAFKA_USER, its password and STREAMWISE_KAFKA_MECHANISM",
    KafkaError._SSL: "STREAMWISE_KAFKA_CA, and STREAMWISE_KAFKA_CERT and _KEY where the broker asks for them",
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: its partitions (None = as many as the sources), whether it is compacted, whether kept for ever."""

    name: str
    partitions: int | None = None
    compacted: bool = False
    kept: bool = False

    def config(self) -> dict[str, str]:
        """Return the topic's settings for the broker."""
        if self.compacted:
            return {"cleanup.policy": "compact"}
        return {"retention.ms": "-1", "retention.bytes": "-1"} if self.kept else {}


def broker_away(bootstrap: Kafka, more: str = "") -> Retryable:
    """Make the error for a broker that does not answer."""
    return Retryable(
        f"no Kafka broker answers at {bootstrap}; start one with `make kafka`, or set STREAMWISE_KAFKA{more}"
    )


def existing(bootstrap: Kafka, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
    """Return the existing topics and how many partitions each has.

    Raises `Retryable` when no broker answers, and `Fatal` at once when one refuses us or has a bad certificate:
    librdkafka would try for ever and tell only its callback.
    """
    told: list[KafkaError] = []
    admin = AdminClient({**librdkafka_settings(bootstrap), "log_level": 0, "error_cb": told.append})
    until = time.monotonic() + timeout_s
    while True:
        try:
            found = admin.list_topics(timeout=min(timeout_s, _TRY_S)).topics
            return {name: len(topic.partitions) for name, topic in found.items()}
        except KafkaException as error:
            admin.poll(0)
            _check_refused(told)
            if time.monotonic() > until:
                how = as_connection(bootstrap).security
                more = f"; if one listens there it does not take {how}: set STREAMWISE_KAFKA_SECURITY"
                raise broker_away(bootstrap, more) from error


def _check_refused(told: list[KafkaError]) -> None:
    for error in told:
        cause = error.str().partition("(after")[0].strip()
        # the broker refuses our certificate after the handshake, which looks like a broken connection
        code = KafkaError._SSL if "tls alert" in cause else error.code()
        if code in CHECK:
            raise Fatal(f"{cause}; check {CHECK[code]}") from None


def topic_id(bootstrap: Kafka, name: str) -> str | None:
    """Return the id that the broker gave the topic when it was created; None from a broker that gives none."""
    admin = AdminClient({**librdkafka_settings(bootstrap), "log_level": 0})
    try:
        found = admin.describe_topics(TopicCollection([name]), request_timeout=TIMEOUT_S)[name].result()
    except KafkaException:
        return None
    return str(found.topic_id) if found.topic_id is not None else None


def ensure(
    bootstrap: Kafka,
    specs: Mapping[str, TopicSpec],
    *,
    partitions: int,
    replication: int,
    create: bool = True,
) -> dict[str, str]:
    """Create the missing topics and check the others; returns what happened to each ("created", "as it is").

    Raises `Fatal` when a topic has another number of partitions, or is missing and `create` is false.
    """
    found = existing(bootstrap)
    report: dict[str, str] = {}
    missing = []
    for spec in specs.values():
        wanted = spec.partitions or partitions
        if spec.name not in found:
            missing.append(NewTopic(spec.name, wanted, replication, config=spec.config()))
        elif found[spec.name] != wanted:
            raise Fatal(
                f"topic {spec.name} has {found[spec.name]} partitions, expected {wanted}: "
                f"set STREAMWISE_PARTITIONS={found[spec.name]}, or make the topics anew"
            )
        else:
            report[spec.name] = "as it is"
    if missing and not create:
        names = ", ".join(topic.topic for topic in missing)
        raise Fatal(f"topics are missing: {names}; make them with `streamwise topics`")
    made = _create(bootstrap, missing)
    theirs = {name: spec for name, spec in specs.items() if name not in (*report, *made)}
    if theirs:  # another process has just created these: check them, too
        _await_all(bootstrap, theirs)
        report |= ensure(bootstrap, theirs, partitions=partitions, replication=replication, create=False)
    return {**report, **dict.fromkeys(made, "created")}


def _await_all(bootstrap: Kafka, names: Iterable[str]) -> None:
    """Wait until the broker lists topics that it says exist already."""
    until = time.monotonic() + TIMEOUT_S
    while not set(names) <= existing(bootstrap).keys() and time.monotonic() < until:
        time.sleep(_LOOK_S)


def _create(bootstrap: Kafka, missing: list[NewTopic]) -> list[str]:
    """Create topics; returns those that this call created and not another process meanwhile."""
    if not missing:
        return []
    made = []
    admin = AdminClient({**librdkafka_settings(bootstrap), "log_level": 0})
    for name, future in admin.create_topics(missing, operation_timeout=TIMEOUT_S).items():
        try:
            future.result()
            made.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Fatal(f"topic {name} cannot be made: {error.args[0].str()}") from error
    return made
