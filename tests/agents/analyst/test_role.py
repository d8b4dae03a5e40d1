"""The analyst: each event once, through a death between any two steps; results equal the models' own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from faust.types.tuples import TP

import schemas
from agents.analyst.analysis import forecast_key
from agents.analyst.results import encoded_forecast, encoded_recommended
from agents.analyst.role import IDLE_MS, AnalystRole
from agents.analyst.state_log import CONTROL, Kept
from backup.analyst_state import clamped, whole
from backup.analyst_state import newest as newest_records
from backup.topic_log import Record
from config.settings import ROOT, load_settings
from models.forecasting.config import load_forecasts
from models.forecasting.forecaster import Forecaster
from models.recommendation.config import load_recommendations
from models.recommendation.shop import NOBODY, RecommendationState
from schemas.topics import ANALYST_CHANGELOG, DEPARTURES, FORECASTS, RECOMMENDATIONS
from streams.avro.decoder import REASONS
from streams.batches.builder import raw_batch
from streams.batches.record_batch import parse_batch
from streams.errors import Fatal, Retryable
from tests.doubles import CapturedOutputs, Rig
from tests.doubles.outputs import CapturedChangelog, Sent
from tests.reference import streams

TOPIC = "sales.events"
DAY_MS = 86_400_000
BEGIN_MS = 1_500_000_000_000
Event = tuple[bytes, int, bytes]  # customer, time, value


class Died(Exception):
    pass


def order(number: int, time_ms: int, customer: bytes = b"c1", kind: str = "order", **given: Any) -> Event:
    products = given.pop("products", [f"p{number % 7}", f"p{number % 5 + 2}"])
    lines = [
        {"product": name, "category": f"of {name[-1]}", "quantity": 1.0, "amount": 3.0} for name in products
    ]
    record = {"message_id": f"m{number}", "time": time_ms, "kind": kind, "order_id": f"o{number}"}
    return (
        customer,
        time_ms,
        schemas.encode("sales_event", {**record, "amount": 6.0, "lines": lines, **given}),
    )


@cache
def orders(count: int = 400) -> list[Event]:
    """Some months of a few customers."""
    return [
        order(number, BEGIN_MS + number * DAY_MS // 4, b"c%d" % (number * number % 23))
        for number in range(count)
    ]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Make an analyst that holds one partition; nothing reaches a broker."""

    def make_one(kept: Kept | None = None, partitions: int = 1, **config: str) -> AnalystRole:
        folder = ROOT / "config"
        if config:
            folder = tmp_path / "config"
            folder.mkdir(exist_ok=True)
            for path in (ROOT / "config").glob("*.yaml"):
                (folder / path.name).write_bytes(path.read_bytes())
            for name, text in config.items():
                (folder / f"{name}.yaml").write_text(text)
        settings = load_settings(
            kafka="127.0.0.1:1", partitions=partitions, state=tmp_path, analyst_port=0, config=folder,
            commit_interval=0.1,
        )  # fmt: skip
        made = AnalystRole(settings, wall_clock_ms=lambda: BEGIN_MS)
        made.http.server._server.server_close()
        made.changelog.close()
        made.outputs = made.results._outputs = CapturedOutputs()  # type: ignore[assignment]
        made.changelog = CapturedChangelog(ANALYST_CHANGELOG, CapturedOutputs())  # type: ignore[assignment]
        made.whole = made.intake.assigned = True
        made._due = lambda: True  # type: ignore[method-assign]
        start(made, kept or Kept())
        return made

    return make_one


def start(role: AnalystRole, kept: Kept) -> None:
    offsets = role.restore(kept)
    starts = {TP(TOPIC, n): offsets.get(TP(TOPIC, n), 0) for n in range(role.settings.partitions)}
    role.resume(starts)
    role.intake.positions = dict(starts)


def take(
    role: AnalystRole, events: Sequence[Event], base: int, partition: int = 0, appended_ms: int = -1
) -> None:
    """The events of `base` on as one batch."""
    batch = raw_batch(base, [(customer, value) for customer, _, value in events], appended_ms)
    asyncio.run(role.take([(TP(TOPIC, partition), batch)]))


def commit(role: AnalystRole) -> dict[TP, int]:
    return asyncio.run(role.commit())


def log_of(role: AnalystRole) -> list[Sent]:
    return list(role.changelog._outputs.sent)  # type: ignore[attr-defined]


def kept(records: Sequence[Sent]) -> Kept:
    """As `read_state` gives it."""
    found, pending = Kept(), dict[bytes, bytes | None]()
    for sent in records:
        pending[sent.key] = sent.value
        if sent.key == CONTROL:
            found.put(pending)
            pending = {}
    found.torn = set(pending)
    return found


def newest(role: AnalystRole, topic: str) -> dict[bytes, bytes]:
    return {sent.key: sent.value for sent in role.outputs.of(topic)}  # type: ignore[attr-defined]


def whole_state(role: AnalystRole) -> Any:
    shop = role.analysis.shop
    lists = {key: shopper.to_bytes() for key, shopper in shop.shoppers.items()}
    forecasts = {name: forecaster.state() for name, forecaster in role.analysis.forecasters.items()}
    assert shop.assortment is not None
    return (
        shop.recommender.state(),
        shop.assortment.to_bytes(),
        lists,
        forecasts,
        shop.renewed_ms,
        shop.swept_ms,
    )


def test_recommendations_are_those_of_the_shop_fed_directly(make: Any) -> None:
    role, twin = make(), RecommendationState(load_recommendations(ROOT / "config" / "recommendations.yaml"))
    wanted: dict[bytes, Any] = {}
    for at, (customer, time_ms, value) in enumerate(orders()):
        take(role, [(customer, time_ms, value)], at)
        if at % 7 == 3:
            commit(role)
        twin.learn(customer, schemas.decode(value)[1]["lines"], time_ms)
        if at % 11 == 0:
            wanted |= twin.take_recommended()
    commit(role)
    wanted |= twin.take_recommended()
    assert newest(role, RECOMMENDATIONS) == {key: encoded_recommended(found) for key, found in wanted.items()}
    one = schemas.decode(newest(role, RECOMMENDATIONS)[b"c1"])[1]
    assert len(one["products"]) == 7
    assert NOBODY in wanted


def test_only_those_who_changed_are_scored_again(make: Any) -> None:
    role = make()
    take(role, orders(), 0)
    commit(role)
    before = len(role.outputs.of(RECOMMENDATIONS))
    take(role, [order(1000, BEGIN_MS + 100 * DAY_MS, b"c9")], 400)
    commit(role)
    changed = {sent.key for sent in role.outputs.of(RECOMMENDATIONS)[before:]}
    assert changed - {NOBODY} == {b"c9"}


def test_forecasts_are_those_of_the_forecasters_fed_directly(make: Any) -> None:
    role = make()
    take(role, orders(), 0)
    commit(role)
    for spec in load_forecasts(ROOT / "config" / "forecasts.yaml"):
        twin = Forecaster(spec)
        for _, time_ms, value in orders():
            record = schemas.decode(value)[1]
            if spec.by == "category":
                for line in record["lines"]:
                    twin.add(time_ms, line["category"], line["quantity"])
            else:
                twin.add(time_ms, "", record["amount"])
        assert twin.forecasts()
        for found in twin.forecasts():
            assert newest(role, FORECASTS)[forecast_key(found)] == encoded_forecast(found, role.analysis)


@pytest.mark.parametrize("point", AnalystRole.POINTS)
@pytest.mark.parametrize("seen", ["nothing", "half", "all"])
def test_a_death_between_any_two_steps_loses_and_repeats_nothing(make: Any, point: str, seen: str) -> None:
    """The promise: state and results are byte-equal to those of an undisturbed run. What a broker without transactions
    shows of a cycle that did not end is not taken for a state."""
    events = orders()
    undisturbed = make()
    for at in range(0, len(events), 50):
        take(undisturbed, events[at : at + 50], at)
        commit(undisturbed)
    first = make()
    for at in (0, 50, 100):
        take(first, events[at : at + 50], at)
        commit(first)
    whole = len(log_of(first))

    def die() -> None:
        raise Died

    take(first, events[150:230], 150)
    first.failpoints[point] = die
    with pytest.raises(Died):
        commit(first)
    written = log_of(first)
    if point in ("written", "acknowledged", "sent") and seen != "all":
        written = written[:whole] if seen == "nothing" else written[: (whole + len(written)) // 2]
    elif point == "written":
        written = written[:-1]  # all but the control record
    second = make(kept(written))
    at = second.intake.positions[TP(TOPIC, 0)]
    assert at == (230 if point == "settled" else 150)
    take(second, events[at:300], at)
    commit(second)
    third = make(kept([*written, *log_of(second)]))
    take(third, events[300:], 300)
    commit(third)
    assert whole_state(third) == whole_state(undisturbed)
    for topic in (RECOMMENDATIONS, FORECASTS):
        found = newest(first, topic) | newest(second, topic) | newest(third, topic)
        assert found == newest(undisturbed, topic)
    again = make(kept([*written, *log_of(second), *log_of(third)]))
    assert whole_state(again) == whole_state(undisturbed)


def test_a_cycle_writes_what_changed_in_records_a_broker_takes(make: Any) -> None:
    role = make()
    take(role, orders(), 0)
    assert commit(role) == {TP(TOPIC, 0): 400}
    records = log_of(role)
    assert max(len(sent.value) for sent in records) < 900_000
    assert {sent.partition for sent in records} == {0}
    assert records[-1].key == CONTROL
    assert commit(role) == {TP(TOPIC, 0): 400}
    assert len(log_of(role)) == len(records)
    take(role, [order(1000, BEGIN_MS + 100 * DAY_MS, b"new", products=["p1"])], 400)
    commit(role)
    lists = {sent.key for sent in log_of(role)[len(records) :] if not sent.key.startswith(b"\0")}
    assert lists == {b"new"}


def test_repeated_and_unreadable_events_are_left_out_and_counted(make: Any) -> None:
    role = make()
    good = orders()[0]
    late = order(7, BEGIN_MS - DAY_MS)
    wrong = [(b"c1", 0, b"nonsense"), (b"", 0, good[2]), (b"c1", 0, order(5, 5)[2]), (b"\xff", 0, good[2])]
    take(role, [good, *wrong, good, late, order(8, BEGIN_MS, kind="return")], 0)
    commit(role)
    status = role.status()
    assert (status["analysed"], status["baskets"], status["duplicates"]) == (3, 2, 1)
    assert status["unreadable"] == {REASONS[flaw]: 1 for flaw in (3, 1, 7, 8)}
    assert role.intake.positions == {TP(TOPIC, 0): 8}


@pytest.mark.parametrize("seed", range(3))
def test_the_analyst_leaves_out_what_the_worker_sends_to_the_dead_letters(make: Any, seed: int) -> None:
    """The promise that makes letters of its own needless."""
    log = streams.random_log(seed, 600, partitions=1, bad=0.3)
    batches = streams.cut(log[TOPIC, 0], [50], ["none"])
    rig, role = Rig(), make()
    rig.feed({(TOPIC, 0): batches})
    for raw in batches:
        asyncio.run(role.take([(TP(TOPIC, 0), parse_batch(raw, first=0))]))
    commit(role)
    letters = rig.outputs.of("dead-letters")
    assert sum(role.arrivals.refused.values()) == len(letters) > 0
    assert role.analysis.events + role.arrivals.repeated == len(log[TOPIC, 0]) - len(letters)


def test_ids_before_what_is_wanted_are_noted_and_no_more(make: Any) -> None:
    role = make()
    role.resume({TP(TOPIC, 0): 2})
    take(role, orders()[:2], 0)
    assert role.analysis.events == 0
    assert commit(role) == {TP(TOPIC, 0): 2}
    take(role, [orders()[1], orders()[2]], 2)
    assert (role.analysis.events, role.arrivals.repeated) == (1, 1)


def test_partitions_are_merged_by_time_whatever_the_fetches_were(make: Any) -> None:
    events = orders()
    parts = [[event for event in events if hash_of(event) == n] for n in range(2)]
    states = []
    for size in (7, 1000):
        role = make(partitions=2)
        ends = {TP(TOPIC, n): len(part) for n, part in enumerate(parts)}
        role.intake._ends = ends
        for n in (1, 0):
            for at in range(0, len(parts[n]), size):
                take(role, parts[n][at : at + size], at, n)
                if not n:
                    commit(role)
            if n:
                assert role.analysis.events == 0
                assert commit(role) == {TP(TOPIC, 0): 0, TP(TOPIC, 1): 0}
        assert commit(role) == ends
        states.append(whole_state(role))
    assert states[0] == states[1]
    alone = make()
    take(alone, events, 0)
    assert whole_state(alone) == states[0]


def hash_of(event: Event) -> int:
    return sum(event[0]) % 2


def hourly() -> list[Event]:
    """Forty days of an order an hour."""
    rng = random.Random(1)
    return [
        order(
            n,
            BEGIN_MS + n * DAY_MS // 24,
            b"c%d" % (n % 9),
            amount=6.0 + rng.random(),
            products=[f"p{rng.randrange(7)}"],
        )
        for n in range(24 * 40)
    ]


def test_a_departure_is_told_once_under_one_id(make: Any) -> None:
    role = make()
    steady = hourly()
    end_ms = steady[-1][1]
    silent = [order(5000, end_ms + DAY_MS)]
    take(role, [*steady, *silent], 0)
    commit(role)
    told = [schemas.decode(sent.value)[1] for sent in role.outputs.of(DEPARTURES)]
    assert [(one["forecast"], one["direction"]) for one in told] == [("sales_by_hour", "below")]
    assert told[0]["value"] == 0.0
    assert told[0]["id"] == f"sales_by_hour/total:below:{told[0]['start']}"
    assert role.status()["departures"] == 1
    commit(role)
    assert len(role.outputs.of(DEPARTURES)) == 1


def test_a_live_source_that_falls_silent_departs_by_the_clock(make: Any) -> None:
    role = make()
    steady = hourly()
    for at in range(0, len(steady), 24):
        take(role, steady[at : at + 24], at, appended_ms=steady[at + 23][1] + 5)
    assert role.live
    role._wall_clock_ms = lambda: steady[-1][1] + DAY_MS + IDLE_MS
    commit(role)
    assert [sent.key for sent in role.outputs.of(DEPARTURES)] == [b"sales_by_hour/total"]


def test_a_replayed_source_does_not_follow_the_clock(make: Any) -> None:
    role = make()
    take(role, orders(), 0, appended_ms=BEGIN_MS + 9000 * DAY_MS)
    role._wall_clock_ms = lambda: BEGIN_MS + 9100 * DAY_MS
    commit(role)
    assert not role.live
    assert role.outputs.of(DEPARTURES) == []


def test_a_forecast_that_is_no_longer_declared_is_taken_away(make: Any) -> None:
    role = make()
    take(role, orders(), 0)
    commit(role)
    one = "forecasts: {sales: {topic: sales.events, kinds: [order], measure: count, step: 1d, horizon: 7d}}"
    other = make(kept(log_of(role)), forecasts=one)
    commit(other)
    gone = {sent.key for sent in other.outputs.of(FORECASTS) if sent.value is None}
    assert b"sales_by_day/total" in gone
    pieces = {sent.key for sent in log_of(other) if sent.value is None}
    assert b"\0forecast/sales_by_day/0" in pieces


def test_what_is_out_of_stock_is_recommended_to_nobody_from_then_on(make: Any, tmp_path: Path) -> None:
    rules = "baskets: {topic: sales.events, kinds: [order]}\nout_of_stock: absent.txt\nnever: [of 3]\n"
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "absent.txt").write_text("p1\n")
    role = make(recommendations=rules)
    take(role, orders(), 0)
    commit(role)
    assert {"p1", "p3"} & products(role, b"c1") == set()
    assert "p2" in products(role, b"c1")
    (folder / "absent.txt").write_text("p2\n\n")
    role.stock._clock = lambda: 1e12
    commit(role)
    take(role, [order(1000, BEGIN_MS + 101 * DAY_MS)], 400)
    commit(role)
    assert {"p1"} <= products(role, b"c1")
    assert "p2" not in products(role, b"c1")


def products(role: AnalystRole, customer: bytes) -> set[str]:
    found = schemas.decode(newest(role, RECOMMENDATIONS)[customer])[1]
    return {one["product"] for one in found["products"]}


@pytest.mark.parametrize("lost", [b"\0item/", b"\0forecast/", b"\0assortment/", b"c1"])
def test_a_changelog_of_which_records_are_gone_is_not_gone_on_from(make: Any, lost: bytes) -> None:
    role = make()
    take(role, orders(), 0)
    commit(role)
    found = kept(log_of(role))
    del found.records[next(key for key in found.records if key.startswith(lost))]
    with pytest.raises(Fatal, match="topic analyst-changelog is unusable: expected 7 items"):
        make(found)


def test_a_damaged_changelog_is_refused_in_one_line(make: Any) -> None:
    role = make()
    take(role, orders(), 0)
    commit(role)
    for key in (b"\0item/", b"\0assortment/", b"c1", CONTROL):
        found = kept(log_of(role))
        name = next(name for name in found.records if name.startswith(key))
        found.records[name] = found.records[name][:-3]
        with pytest.raises(Fatal, match="topic analyst-changelog is unusable"):
            make(found)


def test_with_a_part_of_the_partitions_nothing_is_learned(make: Any) -> None:
    role = make(partitions=2)
    assert asyncio.run(role.begin({TP(TOPIC, 0): (0, 10)})) == {}
    assert commit(role) == {}
    assert role.ready() == (False, "another analyst is in the group: learning waits until one of them ends")


class LogOf:
    """`backup.topic_log.Log` of one analyst's changelog."""

    def __init__(self, records: Sequence[Sent]) -> None:
        self._records = records

    def bounds(self, topic: str, number: int) -> tuple[int, int]:
        return 0, len(self._records)

    def read(self, topic: str, number: int, begin: int, end: int) -> list[Record]:
        return [Record(at, sent.key, sent.value) for at, sent in enumerate(self._records)]


def test_a_backup_holds_what_a_restart_goes_on_from(make: Any) -> None:
    role = make()
    for at in (0, 200):
        take(role, orders()[at : at + 200], at)
        commit(role)
    torn = Sent(ANALYST_CHANGELOG, 0, b"c1", b"of a cycle that did not end")
    found = newest_records(LogOf([*log_of(role), torn]), ANALYST_CHANGELOG)  # type: ignore[arg-type]
    assert list(found)[-1] == CONTROL
    assert whole(found)
    assert whole_state(make(Kept(dict(found)))) == whole_state(role)
    found[CONTROL] = clamped(found[CONTROL], lambda topic, number, at: min(at, 300))
    assert make(Kept(found)).intake.positions == {TP(TOPIC, 0): 300}
    assert newest_records(LogOf([]), ANALYST_CHANGELOG) == {}  # type: ignore[arg-type]
    gaps = [sent for sent in log_of(role) if sent.key != b"c1"]
    with pytest.raises(Retryable, match="is compacted faster than it is read"):
        newest_records(LogOf(gaps), ANALYST_CHANGELOG)  # type: ignore[arg-type]
