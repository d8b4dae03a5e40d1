"""models/selection/champion.py: champion and challengers learn side by side, and every change is recorded."""

from __future__ import annotations

import pytest

from models.config import MAIN, Learning
from models.learning.learner import Learner
from models.selection.champion import Champion, Standing, champion_of
from streams.errors import Poison
from tests.models.learning.test_learner import FEATURES, stream

WILD, GOOD = Learning(experts=("additive",), additive_rate=1.0), Learning(experts=("linear",))


def family(**learnings: Learning) -> Champion:
    return Champion("purchase", FEATURES, learnings)


def give(found: Champion, count: int, first: int = 1) -> None:
    for one in stream(count, seed=first, first=first):
        found.compare({name: learner.learn(one, 0, one.due) for name, learner in found.learners.items()})


def test_a_better_challenger_takes_the_champions_place_with_its_evidence() -> None:
    found = family(main=WILD, quick=GOOD)
    give(found, 3000)
    (change,) = found.changes
    assert (found.champion, found.challengers) == ("quick", [MAIN])
    assert (change.out, change.to, change.why) == (MAIN, "quick", "better beyond doubt")
    assert change.evidence >= 1000
    assert change.gain > 0.01
    assert 0 < change.examples < 3000


def test_a_worse_challenger_never_does() -> None:
    found = family(main=GOOD, wild=WILD)
    give(found, 3000)
    assert (found.champion, found.changes) == (MAIN, [])
    assert found.contests["wild"].gain < 0


def test_promoted_by_hand_a_worse_one_is_replaced_by_the_test() -> None:
    found = family(main=GOOD, wild=WILD)
    give(found, 500)
    assert found.promote("wild").why == "promoted by hand"
    give(found, 3000, first=501)
    assert found.champion == MAIN
    assert [change.why for change in found.changes] == ["promoted by hand", "better beyond doubt"]
    assert found.roll_back().to == "wild"


def test_versions_never_come_twice_under_a_name() -> None:
    found, seen = family(main=GOOD, wild=WILD), set()
    for step in range(6):
        give(found, 50, first=1 + 50 * step)
        for name in found.learners:
            snapshot = found.snapshot(name, 0, {})
            assert (snapshot.model, snapshot.version) not in seen
            assert (snapshot.model == "purchase") == (name == found.champion)
            seen.add((snapshot.model, snapshot.version))
        if step % 2:
            found.promote(found.challengers[0])


def test_restored_it_goes_on_as_it_was() -> None:
    found, undisturbed = family(main=GOOD, wild=WILD), family(main=GOOD, wild=WILD)
    for one in (found, undisturbed):
        give(one, 400)
        one.promote("wild")
        give(one, 100, first=401)
    snapshots = {name: found.snapshot(name, 0, {}) for name in found.learners}
    again = family(main=GOOD, wild=WILD)
    again.restore(snapshots["wild"].contest)
    for name, learning in ((MAIN, GOOD), ("wild", WILD)):
        again.learners[name] = Learner.restore(snapshots[name], FEATURES, learning)
    for name in undisturbed.learners:
        undisturbed.snapshot(name, 0, {})
    for one in (again, undisturbed):
        give(one, 3000, first=501)
    assert champion_of(snapshots["wild"].contest) == "wild"
    assert again.changes == undisturbed.changes
    assert again.champion == MAIN
    for name in undisturbed.learners:
        assert again.snapshot(name, 0, {}) == undisturbed.snapshot(name, 0, {})


def test_a_champion_that_is_gone_from_the_config_leaves_its_place_to_the_first() -> None:
    found = family(main=GOOD, wild=WILD)
    give(found, 50)
    found.promote("wild")
    contest = found.snapshot("wild", 0, {}).contest
    again = family(main=GOOD)
    again.restore(contest)
    assert again.champion == MAIN
    assert Standing.of(contest).changes == again.changes
    with pytest.raises(ValueError, match="no former champion"):
        again.roll_back()


def test_who_is_not_there_cannot_be_promoted() -> None:
    with pytest.raises(ValueError, match="purchase has no challenger 'x'; expected one of: wild"):
        family(main=GOOD, wild=WILD).promote("x")
    with pytest.raises(ValueError, match="it has none"):
        family(main=GOOD).promote("main")


@pytest.mark.parametrize("contest", [b"x", b"\x80", b"\x83\xa8champion\xa1a\xa8contests\x80\xa7changes\xc0"])
def test_what_is_none_is_poison(contest: bytes) -> None:
    with pytest.raises(Poison, match="not the contests of a model"):
        family(main=GOOD).restore(contest)
    with pytest.raises(Poison, match="not the contests of a model"):
        champion_of(contest)
