"""A model's champion and its challengers: all learn from every example, but only the champion's snapshots score.

A challenger that is better beyond doubt replaces the champion. The old champion goes on learning as a challenger and
may return by the same test. Every change is recorded with its evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from models.config import MAIN, Learning, ModelSpec
from models.learning import Learned, Learner
from models.scoring import Snapshot
from streams.errors import Poison

from .contest import Contest, ContestState

CHANGES_KEPT: Final = 50

BETTER: Final = "better beyond doubt"
PROMOTED: Final = "promoted by hand"
ROLLED_BACK: Final = "rolled back by hand"


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`to` replaced `out` at the stream's time `at` (ms since the epoch).

    `evidence` is an e-value from `examples` examples, which `to` scored better by `gain` nats on average.
    """

    at: int
    out: str
    to: str
    why: str
    evidence: float
    examples: int
    gain: float
    order: str = ""  # the id of the request, if a person made it


class _State(msgspec.Struct, forbid_unknown_fields=True):
    champion: str
    contests: dict[str, ContestState]
    changes: list[Change]


class Champion:
    """The learners of one model, by name; `champion` names the one whose snapshots score."""

    def __init__(
        self, model: str, features: Sequence[str], learnings: Mapping[str, Learning], *, amounts: bool = False
    ) -> None:
        self.model = model
        self.learners = {
            name: Learner(model, features, learning, amounts=amounts) for name, learning in learnings.items()
        }
        self.champion = next(iter(self.learners))
        self.contests = {name: Contest() for name in self.challengers}
        self.changes: list[Change] = []

    @classmethod
    def of(cls, spec: ModelSpec, features: Sequence[str]) -> Champion:
        """Make the learners that the config declares."""
        return cls(spec.name, features, spec.learners, amounts=spec.amount is not None)

    @property
    def challengers(self) -> list[str]:
        """Return the names of all learners but the champion."""
        return [name for name in self.learners if name != self.champion]

    @property
    def leader(self) -> Learner:
        """Return the champion's learner."""
        return self.learners[self.champion]

    def compare(self, learned: Mapping[str, Sequence[Learned]]) -> Change | None:
        """Compare the scores of what each has just learned; a challenger that has won becomes the champion."""
        scores = {one.key: (score, one) for one, score in learned.get(self.champion, ())}
        for name in self.challengers:
            contest = self.contests[name]
            for one, score in learned.get(name, ()):
                if one.key in scores:
                    loss = self.leader.task.loss
                    contest.add(loss(scores[one.key][0], one.label), loss(score, one.label))
            if contest.won:
                return self._change(name, BETTER)
        return None

    def promote(self, name: str, order: str = "") -> Change:
        """Make a challenger the champion; raise ValueError if none has this name."""
        if name not in self.challengers:
            known = ", ".join(self.challengers) or "it has none"
            raise ValueError(f"{self.model} has no challenger {name!r}; expected one of: {known}")
        return self._change(name, PROMOTED, order)

    def roll_back(self, order: str = "") -> Change:
        """Undo the latest change; raise ValueError if there is none, or the config lacks the former champion."""
        if not self.changes or self.changes[-1].out not in self.challengers:
            raise ValueError(f"{self.model} has no former champion to go back to")
        return self._change(self.changes[-1].out, ROLLED_BACK, order)

    def published_as(self, name: str) -> str:
        """Return the name on a learner's snapshots.

        Only the champion's carry the name of the model, by which workers score.
        """
        return self.model if name == self.champion else f"{self.model}@{name}"

    def snapshot(self, name: str, created: int, applied: Mapping[str, int]) -> Snapshot:
        """Return the next snapshot of a learner; the champion's also holds the contests and the changes."""
        snapshot = self.learners[name].snapshot(created, applied)
        if name != self.champion:
            return replace(snapshot, model=self.published_as(name))
        state = _State(self.champion, {n: c.state() for n, c in self.contests.items()}, self.changes)
        return replace(snapshot, contest=msgspec.msgpack.encode(state))

    def restore(self, contest: bytes) -> None:
        """Continue the contests of the champion's snapshot; raise Poison if they do not decode.

        If the config lacks that champion, the first learner of the config stays the champion.
        """
        if not contest:
            return
        known = _decoded(contest)
        try:
            contests = {name: Contest.restore(state) for name, state in known.contests.items()}
        except (ValueError, OverflowError) as error:
            raise Poison(f"not the contests of a model: {error}") from error
        self.changes = known.changes[-CHANGES_KEPT:]
        if known.champion in self.learners:
            self.champion = known.champion
            self.contests = {name: contests.get(name) or Contest() for name in self.challengers}

    def _change(self, name: str, why: str, order: str = "") -> Change:
        contest, old = self.contests[name], self.leader
        change = Change(
            at=old.clock, out=self.champion, to=name, why=why, evidence=min(contest.evidence, 1e300),
            examples=contest.examples, gain=contest.gain / max(1, contest.examples), order=order,
        )  # fmt: skip
        self.changes = [*self.changes, change][-CHANGES_KEPT:]
        # Both continue from the later version, so that versions never fall under either of the names they publish as.
        new = self.learners[name]
        new.version = old.version = max(new.version, old.version)
        self.champion = name
        self.contests = {each: Contest() for each in self.challengers}
        return change


class Standing(msgspec.Struct, frozen=True):
    """What the champion's snapshot holds: the champion, the contests and the changes, oldest first.

    A contest is its examples, the mean gain in nats and the evidence.
    """

    champion: str
    contests: dict[str, tuple[int, float, float]]
    changes: list[Change]

    @classmethod
    def of(cls, contest: bytes) -> Standing:
        """Read a snapshot's `contest`; raise Poison if it does not decode."""
        if not contest:
            return cls(MAIN, {}, [])
        family = _decoded(contest)
        contests = {name: Contest.restore(state) for name, state in family.contests.items()}
        found = {name: (c.examples, c.gain / max(1, c.examples), c.evidence) for name, c in contests.items()}
        return cls(family.champion, found, family.changes)


def champion_of(contest: bytes) -> str:
    """Return the name of the champion in a snapshot's `contest`; raise Poison if it does not decode.

    >>> champion_of(b"")
    'main'
    """
    return _decoded(contest).champion if contest else MAIN


def _decoded(contest: bytes) -> _State:
    try:
        return msgspec.msgpack.decode(contest, type=_State)
    except msgspec.MsgspecError as error:
        raise Poison(f"not the contests of a model: {error}") from error
