"""`streamwise changes`: what a rollout from one config to another keeps, both ways, and in which order to do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from customers.row import EXAMPLE, POLICY, Group
from pipeline.config import Config


@dataclass(frozen=True, slots=True)
class LayoutDifference:
    """What rows do not take along from one layout to another: there, they start at their default.

    `columns` are gone from the layout that rows move to, or mean something else in it; so are `policies`, with
    their cooldowns, and `examples`, the models whose open examples are dropped.
    """

    columns: list[str]
    policies: list[str]
    examples: list[str]

    @classmethod
    def between(cls, old: Config, new: Config) -> LayoutDifference:
        """From `old` to `new`."""
        there = {group.name: (group.meaning, group.words) for group in new.layout.groups}
        lost = [g for g in old.layout.groups if there.get(g.name) != (g.meaning, g.words) and _counts(g)]
        return cls(
            [g.name for g in lost if not _part(g)],
            [g.name.partition(":")[2] for g in lost if _part(g) == POLICY],
            [g.name.partition(":")[2] for g in lost if _part(g) == EXAMPLE],
        )

    @property
    def nothing(self) -> bool:
        """Whether rows take everything along."""
        return not (self.columns or self.policies or self.examples)


def _part(group: Group) -> str:
    """What a group of words is of, where its name says so; columns have no colon in theirs."""
    part, colon, _ = group.name.partition(":")
    return part if colon else ""


def _counts(group: Group) -> bool:
    """The message ids move, whatever their number."""
    return group.name != "message_ids"


def compare(old: Config, new: Config) -> dict[str, Any]:
    """What the command tells. `up` is what is lost on the way to `new`, `down` on the way back."""
    up, down = LayoutDifference.between(old, new), LayoutDifference.between(new, old)
    theirs, ours = (set(config.models.names) for config in (old, new))
    before, after = (set(config.layout.topics) for config in (old, new))
    return {
        "same_layout": old.layout.layout_id == new.layout.layout_id,
        "up": _told(up),
        "down": _told(down),
        "features_new": sorted(ours - theirs),
        "features_gone": sorted(theirs - ours),
        "sources_new": sorted(after - before),
        "sources_gone": sorted(before - after),
        "order": _order(bool(ours - theirs), bool(theirs - ours), before == after),
        "lossless": up.nothing,
    }


def _told(move: LayoutDifference) -> dict[str, list[str]]:
    return {"columns": move.columns, "policies": move.policies, "examples": move.examples}


def _order(added: bool, gone: bool, side_by_side: bool) -> str:
    """Which role goes first. Workers share out the partitions of the topics that all of them read."""
    if not side_by_side:
        return (
            f"end all workers before the first new one starts, as sources differ; {_order(added, gone, True)}"
        )
    if added and gone:
        return (
            "two rollouts: one that adds features (workers first), then one that drops some (learner first)"
        )
    return "learner, then workers" if gone else "workers, then learner"


def format_report(told: dict[str, Any]) -> list[str]:
    """The same for people."""
    if told["same_layout"]:
        return ["the layout is the same: workers of both run side by side, nothing restarts"]
    found = [f"order: {told['order']}"]
    for key, name in (("sources_new", "new sources"), ("sources_gone", "sources that are read no more")):
        found += [f"{name}: {', '.join(told[key])}"] if told[key] else []
    for way, name in (("up", "rows that move up"), ("down", "rows that move back")):
        parts = [f"{what} {', '.join(names)}" for what, names in told[way].items() if names]
        found.append(f"{name}: lose {'; '.join(parts)}" if parts else f"{name}: lose nothing")
    if told["lossless"]:
        beside = "side by side and " if not (told["sources_new"] or told["sources_gone"]) else ""
        found.append(f"nothing that the old version knows is lost, {beside}after a downgrade")
    else:
        found.append(
            "drop these in a later rollout, when nobody will go back: see docs/OPERATIONS.md, Upgrade"
        )
    return found
