"""`streamwise changes`: what rows keep in an upgrade and a downgrade between two configs, and which role goes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from customers.row import EXAMPLE, POLICY, Group
from pipeline.config import Config


@dataclass(frozen=True, slots=True)
class LayoutDifference:
    """What rows lose when they move to another layout, where these parts start at their default.

    `columns`: the new layout lacks them or gives them another meaning. `policies`: likewise, with their cooldowns.
    `examples`: likewise, the models whose open examples are dropped.
    """

    columns: list[str]
    policies: list[str]
    examples: list[str]

    @classmethod
    def between(cls, old: Config, new: Config) -> LayoutDifference:
        """Return what rows lose from `old` to `new`."""
        there = {group.name: (group.meaning, group.words) for group in new.layout.groups}
        lost = [g for g in old.layout.groups if there.get(g.name) != (g.meaning, g.words) and _counts(g)]
        return cls(
            [g.name for g in lost if not _part(g)],
            [g.name.partition(":")[2] for g in lost if _part(g) == POLICY],
            [g.name.partition(":")[2] for g in lost if _part(g) == EXAMPLE],
        )

    @property
    def nothing(self) -> bool:
        """Whether rows lose nothing."""
        return not (self.columns or self.policies or self.examples)


def _part(group: Group) -> str:
    """The kind of a group, from the prefix of its name; "" for a column, whose name has no colon."""
    part, colon, _ = group.name.partition(":")
    return part if colon else ""


def _counts(group: Group) -> bool:
    """Whether a change of this group loses data. Message ids move, whatever their number."""
    return group.name != "message_ids"


def compare(old: Config, new: Config) -> dict[str, Any]:
    """Return the report of the command. `up`: what rows lose on the way to `new`; `down`: on the way back."""
    up, down = LayoutDifference.between(old, new), LayoutDifference.between(new, old)
    theirs, ours = (set(config.models.names) for config in (old, new))
    before, after = (set(config.layout.topics) for config in (old, new))
    return {
        "same_layout": old.layout.layout_id == new.layout.layout_id,
        "up": _plain(up),
        "down": _plain(down),
        "features_new": sorted(ours - theirs),
        "features_gone": sorted(theirs - ours),
        "sources_new": sorted(after - before),
        "sources_gone": sorted(before - after),
        "order": _order(bool(ours - theirs), bool(theirs - ours), before == after),
        "lossless": up.nothing,
    }


def _plain(move: LayoutDifference) -> dict[str, list[str]]:
    return {"columns": move.columns, "policies": move.policies, "examples": move.examples}


def _order(added: bool, gone: bool, side_by_side: bool) -> str:
    """Return which role to upgrade first. Workers run side by side only if all read the same topics."""
    if not side_by_side:
        return (
            f"end all workers before the first new one starts, as sources differ; {_order(added, gone, True)}"
        )
    if added and gone:
        return (
            "two rollouts: one that adds features (workers first), then one that drops some (learner first)"
        )
    return "learner, then workers" if gone else "workers, then learner"


def format_report(report: dict[str, Any]) -> list[str]:
    """Format the report for people."""
    if report["same_layout"]:
        return ["the layout is the same: old and new workers can run side by side, and no data starts over"]
    found = [f"order: {report['order']}"]
    for key, name in (("sources_new", "new sources"), ("sources_gone", "sources no longer read")):
        found += [f"{name}: {', '.join(report[key])}"] if report[key] else []
    for way, name in (("up", "rows that move up"), ("down", "rows that move back")):
        parts = [f"{what} {', '.join(names)}" for what, names in report[way].items() if names]
        found.append(f"{name}: lose {'; '.join(parts)}" if parts else f"{name}: lose nothing")
    if report["lossless"]:
        beside = "side by side and " if not (report["sources_new"] or report["sources_gone"]) else ""
        found.append(f"nothing that the old version knows is lost, {beside}after a downgrade")
    else:
        found.append(
            "drop these in a later rollout, when nobody will go back: see docs/OPERATIONS.md, Upgrade"
        )
    return found
