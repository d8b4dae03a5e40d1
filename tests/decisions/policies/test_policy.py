"""Policies: what is in the file is read, and what is wrong in it is one line that says what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from decisions.conditions.names import Input, Names
from decisions.policies.policy import Policy, load_policies
from streams.errors import ConfigError

NAMES = Names(
    views=("order_count", "tickets_1w", "last_order"),
    scores=("churn",),
    fields=("amount",),
    kinds=("ticket", "order"),
    deadlines=("silence",),
)
GOOD = {
    "kind": "alert",
    "on": "[order, deadline.silence]",
    "when": "churn > 0.5 AND order_count >= 3",
    "exit": "churn < 0.3",
    "cooldown": "14d",
    "message": "Likely to leave.",
}


def read(tmp_path: Path, text: str) -> tuple[Policy, ...]:
    path = tmp_path / "policies.yaml"
    path.write_text(text, encoding="utf-8")
    return load_policies(path, NAMES, lambda found: float(len(found)))


def policy(**changes: str | None) -> str:
    """A file with one policy: the good one with `changes`, None leaves a key out. Keys start in line 3."""
    keys = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return "\n".join(["policies:", "  churn-risk:", *(f"    {key}: {value}" for key, value in keys.items())])


def test_a_policy_is_read_whole(tmp_path: Path) -> None:
    (found,) = read(tmp_path, policy())
    assert (found.name, found.kind, found.on) == ("churn-risk", "alert", ("order", "deadline.silence"))
    assert (found.cooldown_ms, found.message, found.line) == (14 * 86_400_000, "Likely to leave.", 2)
    assert found.when.sql == GOOD["when"]
    assert found.when.inputs == (Input("score", "churn"), Input("view", "order_count"))
    assert found.exit is not None
    assert found.exit.inputs == (Input("score", "churn"),)


def test_policies_keep_the_order_of_the_file_and_need_no_exit(tmp_path: Path) -> None:
    text = (
        policy(exit=None)
        + "\n  a-second:\n    {kind: offer, on: [ticket], when: true, cooldown: 1h, message: Hi.}"
    )
    first, second = read(tmp_path, text)
    assert first.exit is None
    assert (second.name, second.when.sql, second.line) == ("a-second", "TRUE", 8)


def test_an_empty_mapping_is_no_policies(tmp_path: Path) -> None:
    assert read(tmp_path, "policies: {}") == ()


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [
        (policy(kind="alarm"), 3, "kind: unknown kind 'alarm'; expected alert or offer"),
        (policy(on="[ordr]"), 4, "on: unknown event kind or deadline 'ordr'; did you mean 'order'?"),
        (
            policy(on="[purchase]"),
            4,
            "on: unknown event kind or deadline 'purchase'; expected one of ticket, order, deadline.silence",
        ),
        (
            policy(on="[deadline.silense]"),
            4,
            "on: unknown event kind or deadline 'deadline.silense'; did you mean 'deadline.silence'?",
        ),
        (policy(on="order"), 4, "on: got 'order'; expected a list such as [order, deadline.silence]"),
        (policy(on="[]"), 4, "on: got []; expected a list such as [order, deadline.silence]"),
        (policy(on="[order, order]"), 4, "on: 'order' appears twice; expected it once"),
        (policy(when="chrun > 0.5"), 5, "when: unknown column 'chrun'; did you mean 'churn'?"),
        (
            policy(when="churn >"),
            5,
            "when: not valid SQL at column 7, near '>': Required keyword: 'expression' missing for GT; "
            "expected a condition such as churn > 0.5",
        ),
        (policy(when="5"), 5, "when: got 5; expected a condition such as churn > 0.5"),
        (policy(when="event.amont > 1"), 5, "when: unknown event field 'amont'; did you mean 'amount'?"),
        (
            policy(when="order_count > 'many'"),
            5,
            "when: mixes a number (order_count) with a string ('many'); expected values of one type",
        ),
        (policy(exit="chrun < 0.3"), 6, "exit: unknown column 'chrun'; did you mean 'churn'?"),
        (policy(exit=""), 6, "exit: got None; expected a condition such as churn > 0.5"),
        (
            policy(cooldown="a fortnight"),
            7,
            "cooldown: expected a duration such as 90s, 30m, 1h, 3d or 1w, got 'a fortnight'",
        ),
        (policy(cooldown="14"), 7, "cooldown: expected a duration such as 90s, 30m, 1h, 3d or 1w, got '14'"),
        (policy(message="''"), 8, "message: '' is not a text; expected what to tell people"),
        (policy(message="7"), 8, "message: 7 is not a text; expected what to tell people"),
        (policy(when=None), 3, "missing key 'when'"),
        (
            policy(cooldwn="1d"),
            9,
            "unknown key 'cooldwn'; expected one of ['cooldown', 'exit', 'kind', 'message', 'on', 'when']",
        ),
        ("policies: [1]", 1, "policies: expected a mapping of names to policies"),
        ("policies:\n  a: 1", 2, "a: expected a mapping with cooldown, kind, message, on, when"),
        (
            "policies:\n  'a:b': {}",
            2,
            "'a:b' is not a policy name; expected letters, digits, '-', '_' and '.'",
        ),
        ("polices: {}", 1, "unknown key 'polices'; expected one of ['policies']"),
    ],
)
def test_a_wrong_policy_is_one_line(tmp_path: Path, text: str, line: int, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'policies.yaml'}:{line}: {error}"
