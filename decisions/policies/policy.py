"""Step 7: reads and checks the policies that a user wrote. A wrong policy is an error of one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from config import located_yaml as lines
from decisions.conditions import Condition, Names, compile_condition, suggestion

DEADLINE = "deadline."  # prefix of a deadline column's name in `on`
_REQUIRED = {"kind", "on", "when", "cooldown", "message"}


@dataclass(frozen=True, eq=False)
class Policy:
    """When to raise which alert or offer. `on`: event kinds and `deadline.<column>`; `line`: its line in the file."""

    name: str
    kind: Literal["alert", "offer"]
    on: tuple[str, ...]
    when: Condition
    exit: Condition | None
    cooldown_ms: float
    message: str
    line: int


def load_policies(path: str | Path, names: Names, hash_string: Callable[[str], float]) -> tuple[Policy, ...]:
    """Read the policies of a file, in its order. Raises the `ConfigError` that names the line to correct.

    `hash_string` gives the hash that stands for a string (52 bits, as a float).

    >>> from tempfile import NamedTemporaryFile
    >>> names = Names(views=[], scores=[], fields=["amount"], kinds=["order"], deadlines=[])
    >>> thanks = "{kind: offer, on: [order], when: event.amount > 150, cooldown: 30d, message: Thank you.}"
    >>> with NamedTemporaryFile("w") as file:
    ...     print(f"policies: {{thanks: {thanks}}}", file=file, flush=True)
    ...     policies = load_policies(file.name, names, hash)
    >>> policies[0].name, policies[0].when.sql, policies[0].cooldown_ms
    ('thanks', 'event.amount > 150', 2592000000.0)
    """
    top = lines.load(path)
    top.expect({"policies"}, {"policies"})
    found = top["policies"]
    if not isinstance(found, lines.LocatedMapping):
        raise top.error("policies: expected a mapping of names to policies", "policies")
    return tuple(_policy(name, found, names, hash_string) for name in found)


def _policy(
    name: str, found: lines.LocatedMapping, names: Names, hash_string: Callable[[str], float]
) -> Policy:
    body = found[name]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):  # it ends the ids of outputs, after a colon
        raise found.error(f"{name!r} is not a policy name; expected letters, digits, '-', '_' and '.'", name)
    if not isinstance(body, lines.LocatedMapping):
        raise found.error(f"{name}: expected a mapping with {', '.join(sorted(_REQUIRED))}", name)
    body.expect({*_REQUIRED, "exit"}, _REQUIRED)
    if body["kind"] not in ("alert", "offer"):
        raise body.error(f"kind: unknown kind {body['kind']!r}; expected alert or offer", "kind")
    message = body["message"]
    if not isinstance(message, str) or not message.strip():
        raise body.error(f"message: {message!r} is not a text; expected what to tell people", "message")
    return Policy(
        name=name,
        kind=body["kind"],
        on=_causes(body, names),
        when=_condition(body, "when", names, hash_string),
        exit=_condition(body, "exit", names, hash_string) if "exit" in body else None,
        cooldown_ms=lines.duration_ms(body, "cooldown"),
        message=message.strip(),
        line=found.lines[name],
    )


def _causes(body: lines.LocatedMapping, names: Names) -> tuple[str, ...]:
    causes = body["on"]
    if not isinstance(causes, list) or not causes:
        raise body.error(f"on: got {causes!r}; expected a list such as [order, deadline.silence]", "on")
    known = [*names.kinds, *(DEADLINE + column for column in names.deadlines)]
    for cause in causes:
        if cause not in known:
            near = suggestion(str(cause), known, f"one of {', '.join(known)}")
            raise body.error(f"on: unknown event kind or deadline {cause!r}; {near}", "on")
        if causes.count(cause) > 1:
            raise body.error(f"on: {cause!r} appears twice; expected it once", "on")
    return tuple(causes)


def _condition(
    body: lines.LocatedMapping, key: str, names: Names, hash_string: Callable[[str], float]
) -> Condition:
    sql: Any = body[key]
    if isinstance(sql, bool):  # YAML's true is SQL's TRUE
        sql = str(sql).upper()
    if not isinstance(sql, str):
        raise body.error(f"{key}: got {sql!r}; expected a condition such as churn > 0.5", key)
    return compile_condition(sql, names, lambda message: body.error(f"{key}: {message}", key), hash_string)
