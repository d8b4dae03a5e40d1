"""The list of permissions: groups are the ones that roles join, printed commands hold all of it and no more."""

from __future__ import annotations

import itertools
import shlex

import pytest

from agents.analyst import role as analyst
from agents.learner import role as learner
from agents.ledger import role as ledger
from agents.reader import role as reader
from agents.topology.acls import ROLES, commands, permissions
from agents.topology.topics import topics
from agents.worker import role as worker
from cli.run import main
from schemas.topics import RECOMMENDATIONS
from streams.kafka.permissions import TRANSACTIONS, Operation, Permission

SOURCES = ["web.events", "social.events", "sales.events", "offer.outcomes"]
TEMPLATE = "User:streamwise-{role}"


def values(words: list[str], option: str) -> list[str]:
    return [after for word, after in itertools.pairwise(words) if word == option]


def test_the_groups_are_those_that_roles_join() -> None:
    joined = {role: needs.group for role, needs in ROLES.items() if needs.group}
    roles = {"worker": worker, "learner": learner, "ledger": ledger, "analyst": analyst, "reader": reader}
    assert joined == {name: role.GROUP for name, role in roles.items()}


def test_every_topic_is_written_and_read_by_somebody() -> None:
    every = {(each.name, each.operation) for role in ROLES for each in permissions(role, SOURCES)}
    for name in set(topics(SOURCES)) - {RECOMMENDATIONS}:  # which is for others to read
        for operation in (Operation.READ, Operation.WRITE, Operation.CREATE, Operation.DESCRIBE):
            assert (name, operation) in every


def test_nobody_but_the_worker_writes_what_it_decides_and_nobody_else_reads_its_rows() -> None:
    for topic, operation in (
        ("alerts", Operation.WRITE), ("offers", Operation.WRITE), ("customers-changelog", Operation.READ),
        ("customers-changelog", Operation.WRITE),
    ):  # fmt: skip
        may = [role for role in ROLES if Permission("topic", topic, operation) in permissions(role, SOURCES)]
        assert may == ["worker"]


def test_the_printed_commands_add_what_the_list_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["topics", "--acls", TEMPLATE, "--kafka", "a:1,b:2"])
    assert not ended.value.code
    added: dict[str, set[Permission]] = {}
    for line in capsys.readouterr().out.splitlines():
        program, *words = shlex.split(line)
        assert program == "kafka-acls.sh"
        assert values(words, "--bootstrap-server") == ["a:1,b:2"]
        assert "--add" in words
        ((operation,), (principal,)) = values(words, "--operation"), values(words, "--allow-principal")
        mine = added.setdefault(principal, set())
        for kind in ("topic", "group", TRANSACTIONS):
            mine |= {
                Permission(kind, name, Operation[operation.upper()]) for name in values(words, f"--{kind}")
            }
    assert added == {f"User:streamwise-{role}": set(permissions(role, SOURCES)) for role in ROLES}
    assert next(iter(commands("a:1", "User:one", SOURCES))).count("User:one") == 1
