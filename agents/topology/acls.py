"""The least permissions of each role at the broker: the one list behind docs, checks and `streamwise topics --acls`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.topics import (
    ALERTS,
    ANALYST_CHANGELOG,
    CHANGELOG,
    CORRECTIONS,
    DEAD_LETTERS,
    DEPARTURES,
    EXAMPLES,
    FORECASTS,
    LAYOUTS,
    MESSAGES,
    MODELS,
    OFFERS,
    OUTCOMES,
    RECOMMENDATIONS,
    SOCIAL,
)
from streams.kafka import TRANSACTIONS, Operation, Permission

from .topics import topics


@dataclass(frozen=True, slots=True)
class RolePermissions:
    """What a role reads and writes, the group it joins, and the groups it only names."""

    reads: Sequence[str] = ()
    writes: Sequence[str] = ()
    group: str = ""
    # librdkafka looks up the coordinator of the group in its settings, even if it does not join that group
    named: Sequence[str] = ()
    transactions: str = ""  # prefix of the transactional ids
    creates: bool = False


SOURCES = "sources"  # stands for the topics that events come from
ROLES = {
    "worker": RolePermissions(
        [SOURCES, CHANGELOG, MODELS], [CHANGELOG, ALERTS, OFFERS, EXAMPLES, DEAD_LETTERS, LAYOUTS],
        "streamwise-worker", ["streamwise-snapshots"], "streamwise-worker-",
    ),
    "learner": RolePermissions(
        [EXAMPLES, MODELS, LAYOUTS], [MODELS, DEAD_LETTERS], "streamwise-learner",
        ["streamwise-published", "streamwise-layouts"],
        "streamwise-learner-"
    ),
    "ledger": RolePermissions([ALERTS, OFFERS, OUTCOMES], [DEAD_LETTERS], "streamwise-ledger"),
    "analyst": RolePermissions(
        [SOURCES, ANALYST_CHANGELOG], [ANALYST_CHANGELOG, FORECASTS, DEPARTURES, RECOMMENDATIONS],
        "streamwise-analyst", ["streamwise-analyst-state"], "streamwise-analyst-",
    ),
    "server": RolePermissions(
        [ALERTS, OFFERS, LAYOUTS, FORECASTS, DEPARTURES],
        named=["streamwise-decisions", "streamwise-layouts", "streamwise-outlooks"],
    ),
    "reader": RolePermissions(
        [MESSAGES, SOCIAL, CORRECTIONS], [SOCIAL, DEAD_LETTERS], "streamwise-reader", ["streamwise-corrections"]
    ),
    "corrections": RolePermissions(writes=[CORRECTIONS]),
    "replay": RolePermissions(
        [SOURCES, MESSAGES, OUTCOMES, DEAD_LETTERS], [SOURCES, MESSAGES, OUTCOMES, DEAD_LETTERS],
        named=["streamwise-replay"],
    ),
    "topics": RolePermissions(creates=True),
}  # fmt: skip


def permissions(role: str, sources: Sequence[str]) -> list[Permission]:
    """Return the permissions of a role; every role may describe all topics, because it checks their partitions."""
    needs, every = ROLES[role], list(topics(list(sources)))
    named = {
        Operation.READ: _spelt(needs.reads, sources),
        Operation.WRITE: _spelt(needs.writes, sources),
        Operation.CREATE: every if needs.creates else [],
        Operation.DESCRIBE: every,
    }
    found = [Permission("topic", name, operation) for operation, names in named.items() for name in names]
    if needs.group:
        found.append(Permission("group", needs.group, Operation.READ))
    found += [Permission("group", name, Operation.DESCRIBE) for name in needs.named]
    if needs.transactions:
        found.append(Permission(TRANSACTIONS, needs.transactions, Operation.WRITE))
    return found


def _spelt(names: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Return each topic once, with the sources in place of `SOURCES`; a list may name a source, such as outcomes."""
    return list(dict.fromkeys(topic for name in names for topic in (sources if name == SOURCES else [name])))


def commands(bootstrap: str, principal: str, sources: Sequence[str]) -> Iterator[str]:
    """Yield Kafka's commands that give each role its permissions; `{role}` in `principal` stands for its name."""
    for role in ROLES:
        wanted: dict[tuple[str, Operation], list[str]] = {}
        for each in permissions(role, sources):
            wanted.setdefault((each.kind, each.operation), []).append(each.name)
        for (kind, operation), names in wanted.items():
            words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--command-config", "admin.properties"]
            words += ["--add", "--allow-principal", principal.replace("{role}", role)]
            words += ["--operation", operation.name.capitalize()]
            if kind == TRANSACTIONS:
                words += ["--resource-pattern-type", "prefixed"]
            yield shlex.join([*words, *(word for name in names for word in (f"--{kind}", name))])
