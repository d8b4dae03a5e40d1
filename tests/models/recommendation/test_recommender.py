"""models/recommendation/recommender.py and what it stands on: bounds, fading, the kernel's twin, rules, state and
refusals."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.recommendation.assortment import Assortment, RecommendationRules, Recommendations
from models.recommendation.basket import BASKET
from models.recommendation.item_table import LARGEST_KEY, WAYS, count, empty, find, follow
from models.recommendation.recent_items import BASKETS, CLOCK, HALF_LIFE_MS, KEYS, nothing, remember
from models.recommendation.recommender import DAY_MS, POPULAR_HALF_LIFE_MS, Recommender
from models.recommendation.scorer import PRIOR
from streams.errors import Poison

NOW_MS = 1.6e12
FOOD, DRINK, TOOLS = 11, 12, 13


def learn(recommender: Recommender, keys: list[int], recent: NDArray[np.float64], time_ms: float) -> bool:
    return recommender.learn(keys, [category(key) for key in keys], [1.0] * len(keys), recent, time_ms)


def category(key: int) -> int:
    return (FOOD, DRINK, TOOLS)[key % 3]


def small() -> Recommender:
    return Recommender(items=64, followers=4)


def stream(
    baskets: int, seed: int = 3, items: int = 40, customers: int = 12
) -> list[tuple[int, list[int], float]]:
    """Customer, items and time of baskets: habits that differ by customer, some of them common."""
    draw, found, time_ms = random.Random(seed), [], NOW_MS
    for _ in range(baskets):
        customer = draw.randrange(customers)
        habits = [1 + (customer * 5 + step) % items for step in range(6)]
        some = [*draw.sample(habits, draw.randint(1, 4)), 1 + int(items * draw.random() ** 3)]
        time_ms += draw.random() * DAY_MS
        found.append((customer, some, time_ms))
    return found


def learned(
    baskets: list[tuple[int, list[int], float]], recommender: Recommender | None = None
) -> tuple[Recommender, dict[int, NDArray[np.float64]]]:
    recommender = recommender or small()
    recents: dict[int, NDArray[np.float64]] = {}
    for customer, items, time_ms in baskets:
        learn(recommender, items, recents.setdefault(customer, nothing(8)), time_ms)
    return recommender, recents


def twin(
    assortment: Assortment,
    rules: RecommendationRules,
    recent: NDArray[np.float64],
    owned: list[int],
    now_ms: float,
    k: int,
) -> list[tuple[float, int]]:
    """Every item scored by the formulas at the head of models/recommendation/scorer.py, in plain Python."""
    places = (len(recent) - KEYS) // 2
    left = 2.0 ** (-max(now_ms - float(recent[CLOCK]), 0.0) / assortment.half_life_ms)
    baskets = float(recent[BASKETS]) * left + 1.0
    shares: dict[int, float] = {}
    position = {key: i for i, key in enumerate(assortment.keys.tolist())}
    for key, weight in zip(
        recent[KEYS : KEYS + places].tolist(), recent[KEYS + places :].tolist(), strict=True
    ):
        if key in position and weight > 0:
            shares[int(key)] = weight * left / baskets
    scored = []
    for key, j in position.items():
        if not rules.allowed[j] or (rules.once[j] and (key in shares or key in owned)):
            continue
        wish = float(assortment.popularity[j])
        for item, share in shares.items():
            i = position[item]
            for near, chance in zip(assortment.neighbours[i], assortment.follows[i], strict=True):
                wish += share * float(chance) if near == j else 0.0
        score = shares.get(key, 0.0) * float(assortment.repeats[j])
        score += PRIOR / (baskets + PRIOR) / (1.0 + sum(shares.values())) * wish
        scored.append((score, key))
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]


# The kernel.


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 80),
    st.integers(0, 5),
    st.integers(0, 12),
    st.floats(-10, 400),
    st.lists(st.integers(0, 45), max_size=5),
    st.sets(st.sampled_from([FOOD, DRINK, TOOLS])),
    st.sets(st.sampled_from([FOOD, DRINK, TOOLS])),
    st.none() | st.sets(st.integers(1, 41)),
)
def test_the_kernel_is_its_twin(
    baskets: int,
    seed: int,
    k: int,
    days: float,
    owned: list[int],
    never: set[int],
    once: set[int],
    stock: set[int] | None,
) -> None:
    recommender, recents = learned(stream(baskets, seed))
    assortment = recommender.snapshot(3)
    rules = RecommendationRules.of(assortment, stock=stock, never=never, once=once)
    scorer = Recommendations(assortment, rules)
    for recent in (*recents.values(), nothing(8)):
        now_ms = float(recent[CLOCK]) + days * DAY_MS
        keys, scores = scorer.recommend(recent, now_ms, k, np.array(owned, np.int64))
        expected = twin(assortment, rules, recent, owned, now_ms, k)
        assert scores.tolist() == pytest.approx([score for score, _ in expected], rel=1e-9, abs=1e-15)
        assert len(set(keys.tolist())) == len(keys)
        every = {key: score for score, key in twin(assortment, rules, recent, owned, now_ms, 1000)}
        assert [every[key] for key in keys.tolist()] == pytest.approx(scores.tolist(), rel=1e-9, abs=1e-15)


def test_scoring_leaves_nothing_behind() -> None:
    recommender, recents = learned(stream(60))
    scorer = Recommendations(recommender.snapshot())
    first = scorer.recommend(recents[0], NOW_MS)[0].tolist()
    for recent in recents.values():
        scorer.recommend(recent, NOW_MS)
    assert scorer.recommend(recents[0], NOW_MS)[0].tolist() == first


def test_customers_who_changed_are_scored_in_one_call() -> None:
    recommender, recents = learned(stream(60))
    scorer = Recommendations(recommender.snapshot())
    rows, slots = np.array([*recents.values(), nothing(8)]), np.array([len(recents), 3, 1])
    keys, scores = scorer.changed(rows, slots, NOW_MS, 40)
    for at, slot in enumerate(slots):
        mine, theirs = scorer.recommend(rows[slot], NOW_MS, 40)
        assert keys[at, : len(mine)].tolist() == mine.tolist()
        assert scores[at, : len(mine)].tolist() == theirs.tolist()
        assert not keys[at, len(mine) :].any()


def test_what_goes_with_the_own_items_is_recommended() -> None:
    """1 is followed by 2 and 4 by 5; who has bought 1 only is shown 2 before 5."""
    recommender = small()
    for step in range(30):
        recent, pair = nothing(8), ([1], [2]) if step % 2 else ([4], [5])
        learn(recommender, pair[0], recent, NOW_MS + step * DAY_MS)
        learn(recommender, pair[1], recent, NOW_MS + (step + 0.5) * DAY_MS)
    mine = nothing(8)
    remember(mine, np.array([1]), 1, NOW_MS + 30 * DAY_MS, HALF_LIFE_MS)
    keys = Recommendations(recommender.snapshot()).recommend(mine, NOW_MS + 30 * DAY_MS)[0].tolist()
    assert keys.index(2) < keys.index(5)


def test_items_that_are_bought_again_come_before_those_that_are_not() -> None:
    recommender = small()
    for _ in range(20):
        recent = nothing(8)
        for step in range(10):
            learn(recommender, [1, 20 + step % 8] if step else [1, 2], recent, NOW_MS + step * DAY_MS)
    mine = nothing(8)
    remember(mine, np.array([1, 2]), 2, NOW_MS, HALF_LIFE_MS)
    assert Recommendations(recommender.snapshot()).recommend(mine, NOW_MS, 1)[0].tolist() == [1]


# Fallback and rules.


def test_who_is_not_known_gets_what_is_popular() -> None:
    recommender, _ = learned(stream(80))
    assortment = recommender.snapshot()
    keys, _ = Recommendations(assortment).recommend(nothing(8), NOW_MS, 5)
    assert keys.tolist() == assortment.keys[assortment.by_popularity()[:5]].tolist()


def test_items_that_nobody_knows_are_passed_over() -> None:
    recommender, _ = learned(stream(80))
    strange = nothing(8)
    remember(strange, np.array([9999]), 1, NOW_MS, HALF_LIFE_MS)
    scorer = Recommendations(recommender.snapshot())
    assert scorer.recommend(strange, NOW_MS)[0].tolist() == scorer.recommend(nothing(8), NOW_MS)[0].tolist()


def test_before_anything_is_learned_nothing_is_recommended() -> None:
    assert len(Recommendations(small().snapshot()).recommend(nothing(8), NOW_MS)[0]) == 0


@pytest.mark.parametrize(
    ("rules", "holds"),
    [
        ({"stock": [3, 6, 7, 4000]}, lambda key, _: key in (3, 6, 7)),
        ({"stock": []}, lambda key, _: False),
        ({"only": [TOOLS]}, lambda key, _: category(key) == TOOLS),
        ({"never": [TOOLS, FOOD]}, lambda key, _: category(key) == DRINK),
        ({"once": [FOOD]}, lambda key, mine: category(key) != FOOD or key not in mine),
    ],
)
def test_rules_hold_for_everyone(rules: dict[str, Any], holds: Any) -> None:
    recommender, recents = learned(stream(80))
    assortment = recommender.snapshot()
    scorer = Recommendations(assortment, RecommendationRules.of(assortment, **rules))
    wanted = sum(bool(holds(key, ())) for key in assortment.keys.tolist())
    for recent in recents.values():
        mine = recent[KEYS : KEYS + 8].tolist()
        keys = scorer.recommend(recent, NOW_MS, 64)[0].tolist()
        assert all(holds(key, mine) for key in keys)
        if "once" not in rules:
            assert len(keys) == wanted


def test_what_is_owned_beyond_the_list_is_excluded_where_once_is_enough() -> None:
    recommender, _ = learned(stream(80))
    assortment = recommender.snapshot()
    scorer = Recommendations(assortment, RecommendationRules.of(assortment, once=[FOOD]))
    keys = scorer.recommend(nothing(8), NOW_MS, 64, np.array([3, 6, 7, 5000]))[0].tolist()
    assert sorted(keys) == [key for key in assortment.keys.tolist() if key not in (3, 6)]


# Bounds and fading.


def test_a_full_bucket_gives_up_its_weakest_and_the_newcomer_inherits_its_count() -> None:
    table = empty(WAYS, 2)
    for key in range(1, WAYS + 1):
        count(table, key, 0, float(10 + key))
    follow(table, find(table.keys, 1), 2, 1.0)
    place = count(table, 99, 7, 1.0)
    assert find(table.keys, 1) == -1
    assert (table.counts[place], table.errors[place], table.categories[place]) == (12.0, 11.0, 7)
    assert not table.followers[place].any()
    assert not table.follows[place].any()


def test_followers_are_bounded_in_the_same_way() -> None:
    table = empty(WAYS, 2)
    place = count(table, 1, 0, 1.0)
    for key, weight in ((5, 3.0), (6, 2.0), (7, 1.0)):
        follow(table, place, key, weight)
    assert table.followers[place].tolist() == [5, 7]
    assert table.follows[place].tolist() == [3.0, 3.0]
    assert table.excess[place].tolist() == [0.0, 2.0]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 60), max_size=300))
def test_whatever_is_frequent_is_kept_and_its_count_lies_in_the_bounds(keys: list[int]) -> None:
    """The promise of Space-Saving: true count in [count - error, count], and nothing above total / places is lost."""
    table = empty(WAYS, 2)
    for key in keys:
        count(table, key, 0, 1.0)
    for key in set(keys):
        place, true = find(table.keys, key), keys.count(key)
        if place >= 0:
            assert table.counts[place] - table.errors[place] <= true <= table.counts[place]
        else:
            assert true <= len(keys) / WAYS
    assert table.counts.sum() == len(keys)


@pytest.mark.parametrize(("items", "followers"), [(0, 1), (15, 1), (48, 1), (64, 0)])
def test_bounds_that_make_no_table_are_refused(items: int, followers: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        Recommender(items, followers)


def test_the_list_of_a_customer_is_bounded_and_fades() -> None:
    recent = nothing(2)
    remember(recent, np.array([1, 2]), 2, NOW_MS, HALF_LIFE_MS)
    remember(recent, np.array([2]), 1, NOW_MS + HALF_LIFE_MS, HALF_LIFE_MS)
    assert recent.tolist() == [NOW_MS + HALF_LIFE_MS, 1.5, 1.0, 2.0, 0.5, 1.5]
    remember(recent, np.array([3]), 1, NOW_MS + HALF_LIFE_MS, HALF_LIFE_MS)
    assert recent[KEYS:].tolist() == [3.0, 2.0, 1.0, 1.5]


def test_a_late_basket_counts_less_and_sets_no_clock() -> None:
    recent = nothing(3)
    remember(recent, np.array([1]), 1, NOW_MS, HALF_LIFE_MS)
    remember(recent, np.array([1, 2]), 2, NOW_MS - HALF_LIFE_MS, HALF_LIFE_MS)
    assert recent.tolist() == [NOW_MS, 1.5, 1.0, 2.0, 0.0, 1.5, 0.5, 0.0]


def test_popularity_fades() -> None:
    recommender = small()
    for step in range(8):
        learn(recommender, [1], nothing(4), NOW_MS + step)
    for day in range(100):
        learn(recommender, [2 + day % 2], nothing(4), NOW_MS + day * DAY_MS)
    popularity = dict(zip(*map(np.ndarray.tolist, _popular(recommender)), strict=True))
    assert popularity[1] < 0.01 < popularity[2]
    assert sum(popularity.values()) == pytest.approx(1.0, abs=1e-6)


def _popular(recommender: Recommender) -> tuple[NDArray[Any], NDArray[Any]]:
    assortment = recommender.snapshot()
    return assortment.keys, assortment.popularity


def test_counts_are_the_same_after_they_were_brought_back() -> None:
    """Increments that reach 2^64 are divided away; a stream that began later shows the same."""
    steps = int(70 * POPULAR_HALF_LIFE_MS / DAY_MS)
    recommender, recent = small(), nothing(4)
    for day in range(steps):
        learn(recommender, [1 + day % 5, 7], recent, NOW_MS + day * DAY_MS)
    assert recommender.table.counts.max() < 2.0**64
    fresh, again = small(), nothing(4)
    for day in range(steps - 400, steps):
        learn(fresh, [1 + day % 5, 7], again, NOW_MS + day * DAY_MS)
    assert _popular(recommender)[1] == pytest.approx(_popular(fresh)[1], rel=1e-5)


# What it should not see.


@pytest.mark.parametrize(
    ("key", "quantity"),
    [
        *((5, quantity) for quantity in (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e9)),
        *((key, 1.0) for key in (0, -3, LARGEST_KEY + 1)),
    ],
)
def test_lines_that_are_no_purchase_are_counted_and_pass_by(key: int, quantity: float) -> None:
    recommender, recent, other, same = small(), nothing(4), small(), nothing(4)
    assert recommender.learn([1, key, 2], [0, 0, 0], [1.0, quantity, 1.0], recent, NOW_MS)
    learn_plain = other.learn([1, 2], [0, 0], [1.0, 1.0], same, NOW_MS)
    assert learn_plain
    assert recommender.ignored == 1
    other.ignored = 1
    assert recommender.state() == other.state()
    assert recent.tolist() == same.tolist()


def test_empty_baskets_and_baskets_without_a_time_change_nothing() -> None:
    recommender, recents = learned(stream(60))
    state, recent = recommender.state(), recents[0].copy()
    assert not learn(recommender, [], recents[0], NOW_MS)
    assert recommender.state() == state
    for time_ms in (math.nan, math.inf, -1.0, 1e300):
        assert not learn(recommender, [1], recents[0], time_ms)
    assert recommender.ignored == 4
    recommender.ignored = 0
    assert recommender.state() == state
    assert recents[0].tolist() == recent.tolist()


def test_a_giant_basket_is_cut_and_the_rest_counted() -> None:
    recommender, recent = Recommender(items=1024, followers=4), nothing(BASKET * 2)
    learn(recommender, [*range(1, 501), 1, 1], recent, NOW_MS)
    assert recommender.ignored == 500 - BASKET
    assert np.count_nonzero(recent[KEYS : KEYS + BASKET * 2]) == BASKET


def test_one_wrong_time_neither_fades_nor_stops_learning() -> None:
    recommender, _ = learned(stream(40))
    clock_ms = recommender.clock_ms
    learn(recommender, [1], nothing(8), 4e12)
    assert recommender.clock_ms == clock_ms + DAY_MS
    learn(recommender, [2], nothing(8), 1.0)  # fifty years ago
    for step in range(60):
        learn(recommender, [41], nothing(8), clock_ms + step * DAY_MS / 10)
    assert _popular(recommender)[0][recommender.snapshot().by_popularity()[0]] == 41
    recommender.snapshot().verify()


def test_a_list_takes_part_in_no_future() -> None:
    """The list's clock follows the recommender's, so that one wrong time does not empty it."""
    recommender, recents = learned(stream(40))
    learn(recommender, [1], recents[0], 4e12)
    assert recents[0][CLOCK] == recommender.clock_ms


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(-2, 100), st.floats(width=32)), max_size=6),
            st.floats() | st.floats(0, 1e13),
        ),
        max_size=40,
    )
)
def test_whatever_comes_the_snapshot_is_sound(baskets: list[tuple[list[tuple[int, float]], float]]) -> None:
    recommender, recent = Recommender(WAYS, 2), nothing(3)
    for lines, time_ms in baskets:
        keys, quantities = [key for key, _ in lines], [quantity for _, quantity in lines]
        recommender.learn(keys, [0] * len(keys), quantities, recent, time_ms)
    scorer = Recommendations(recommender.snapshot())
    keys_, scores = scorer.recommend(recent, recommender.clock_ms)
    assert np.isfinite(scores).all()
    assert len(keys_) == min(10, len(scorer.assortment.keys))
    assert Recommender.restore(recommender.state(), WAYS, 2).state() == recommender.state()


@pytest.mark.parametrize(
    "recent",
    [
        np.zeros(3),
        np.zeros(2),
        np.zeros(8, np.int64),
        np.zeros((2, 4)),
        np.full(8, math.nan),
        np.full(8, -1.0),
    ],
)
def test_what_is_no_list_is_poison(recent: NDArray[Any]) -> None:
    recommender = small()
    with pytest.raises(Poison, match="list of recent items"):
        learn(recommender, [1], recent, NOW_MS)
    with pytest.raises(Poison, match="1 keys, 0 categories"):
        recommender.learn([1], [], [1.0], nothing(2), NOW_MS)


# State and snapshots.


def test_restored_it_goes_on_bit_for_bit() -> None:
    baskets = stream(200, items=200)
    undisturbed, theirs = learned(baskets)
    first, recents = learned(baskets[:100])
    restored = Recommender.restore(first.state(), 64, 4)
    assert restored.state() == first.state()
    for customer, items, time_ms in baskets[100:]:
        learn(restored, items, recents.setdefault(customer, nothing(8)), time_ms)
    assert restored.state() == undisturbed.state()
    assert {one: recents[one].tobytes() for one in recents} == {one: theirs[one].tobytes() for one in theirs}
    assert _bytes(restored.snapshot()) == _bytes(undisturbed.snapshot())


def _bytes(assortment: Assortment) -> list[bytes]:
    names = ("keys", "categories", "repeats", "popularity", "neighbours", "follows")
    return [getattr(assortment, name).tobytes() for name in names]


def plain() -> dict[str, Any]:
    state: dict[str, Any] = msgspec.msgpack.decode(learned(stream(50))[0].state())
    return state


def _table(name: str, change: Any) -> Any:
    def spoil(state: dict[str, Any]) -> None:
        array = np.frombuffer(
            state["table"][name], np.int64 if name in ("keys", "followers") else float
        ).copy()
        change(array)
        state["table"][name] = array.tobytes()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state: state.update(format=2), "expected format 1, got 2"),
        (lambda state: state.update(items=128), "expected 64 items of 4, got 128 of 4"),
        (lambda state: state.update(extra=1), "unknown field"),
        (lambda state: state.update(baskets=-1), "a count is negative"),
        (lambda state: state.update(clock_ms=math.nan), "a time is too large"),
        (lambda state: state.update(popular_origin_ms=1e13), "times that do not go together"),
        (lambda state: state["table"].pop("keys"), "its tables are"),
        (lambda state: state["table"].update(keys=b"12345678"), "keys has 8 bytes, not 512"),
        (_table("counts", lambda array: array.__setitem__(0, math.nan)), "a count is negative"),
        (_table("follows", lambda array: array.__setitem__(0, -1.0)), "a count is negative"),
        (_table("keys", lambda array: array.__setitem__(0, -1)), "a key is not valid"),
        (_table("keys", lambda array: array.__setitem__(0, 7)), "an item is in a wrong place"),
        (_table("keys", lambda array: array.__setitem__(slice(0, 2), 4)), "an item is in a wrong place"),
    ],
)
def test_a_state_that_is_not_sound_is_poison(spoil: Any, said: str) -> None:
    state = plain()
    spoil(state)
    with pytest.raises(Poison, match=said):
        Recommender.restore(msgspec.msgpack.encode(state), 64, 4)


@pytest.mark.parametrize("state", [b"", b"\x80", b"not a state"])
def test_what_is_no_state_is_poison(state: bytes) -> None:
    with pytest.raises(Poison, match="not the state of a recommender"):
        Recommender.restore(state, 64, 4)


def _spoilt(array: NDArray[Any], value: float) -> NDArray[Any]:
    array = array.copy()
    array.flat[0] = value
    return array


GOOD = learned(stream(80))[0].snapshot(3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 0}, "expected a version from 1"),
        ({"half_life_ms": math.nan}, "its half-life is nan"),
        ({"half_life_ms": 0.0}, "its half-life is 0.0"),
        ({"repeats": _spoilt(GOOD.repeats, math.nan)}, "repeats has a number outside 0 to 1"),
        ({"popularity": _spoilt(GOOD.popularity, 1.5)}, "popularity has a number outside 0 to 1"),
        ({"follows": _spoilt(GOOD.follows, -0.1)}, "follows has a number outside 0 to 1"),
        ({"neighbours": _spoilt(GOOD.neighbours, len(GOOD.keys))}, "a neighbour is not one of its items"),
        ({"neighbours": _spoilt(GOOD.neighbours, -2)}, "a neighbour is not one of its items"),
        ({"keys": GOOD.keys[::-1].copy()}, "its keys do not ascend"),
        ({"keys": _spoilt(GOOD.keys, 0)}, "its keys do not ascend"),
        ({"keys": GOOD.keys[:-1]}, "categories is int64"),
        ({"follows": GOOD.follows[:, :2]}, "follows is float32"),
        ({"repeats": GOOD.repeats.astype(np.float64)}, "repeats is float64"),
    ],
)
def test_a_snapshot_that_is_not_sound_is_refused(change: dict[str, Any], said: str) -> None:
    GOOD.verify()
    with pytest.raises(Poison, match=said):
        replace(GOOD, **change).verify()


def test_a_snapshot_travels_as_plain_bytes() -> None:
    again = Assortment.from_bytes(GOOD.to_bytes())
    assert _bytes(again) == _bytes(GOOD)
    assert again.to_bytes() == GOOD.to_bytes()
    nothing_yet = small().snapshot().to_bytes()
    assert Assortment.from_bytes(nothing_yet).to_bytes() == nothing_yet


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"items": 10**12}, "items of"),
        ({"items": -1}, "items of"),
        ({"neighbours": 1}, "neighbours has"),
        ({"arrays": {}}, "its arrays are not those"),
        ({"version": 0}, "expected a version"),
        ({"half_life_ms": "x"}, "not an assortment"),
    ],
)
def test_bytes_that_are_no_snapshot_are_poison(change: dict[str, Any], said: str) -> None:
    known = msgspec.msgpack.decode(GOOD.to_bytes())
    with pytest.raises(Poison, match=said):
        Assortment.from_bytes(msgspec.msgpack.encode({**known, **change}))


def test_rules_of_another_snapshot_are_refused() -> None:
    with pytest.raises(Poison, match="rules for"):
        Recommendations(small().snapshot(), RecommendationRules.of(GOOD))
