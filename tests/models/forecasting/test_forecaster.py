"""models/forecasting/forecaster.py: what it forecasts, that its bounds hold, that departures show, and that nothing
upsets it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.forecasting.config import DAY_MS, HOUR_MS, TOTAL, ForecastSpec, load_forecasts
from models.forecasting.conformal import Intervals
from models.forecasting.departure import Evidence
from models.forecasting.forecaster import OTHER, Departure, Forecaster
from models.forecasting.seasonal import Seasonal
from models.forecasting.series import Series
from streams.errors import ConfigError, Poison

BEGIN_MS = 1_483_228_800_000  # 2017-01-01
FILE = Path(__file__).parents[3] / "config" / "forecasts.yaml"
DAYS = ForecastSpec(
    "sales", "sales.events", ("order",), "amount", TOTAL, 3, DAY_MS, 7, 0.9, HOUR_MS, 0, 365 * DAY_MS, DAY_MS
)
HOURS = replace(DAYS, step_ms=HOUR_MS, horizon=24, lateness_ms=300_000)
KEYED = replace(DAYS, by="category")

Event = tuple[int, str, float]


def poisson(draw: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    least, count, product = math.exp(-mean), 0, draw.random()
    while product > least:
        count, product = count + 1, product * draw.random()
    return count


def season(step: int, spec: ForecastSpec) -> float:
    return 1 + 0.5 * math.sin(2 * math.pi * step / spec.seasons[0])


def numbers(kind: str, spec: ForecastSpec, count: int, seed: int) -> Iterator[float]:
    """A seasonal series of a kind: counts, few counts, heavy tails, a wandering level, sudden peaks."""
    draw, level = random.Random(f"{kind}{seed}"), 0.0
    for step in range(count):
        usual = season(step, spec)
        if kind == "counts":
            yield poisson(draw, 40 * usual)
        elif kind == "few":
            yield poisson(draw, 0.4 * usual)
        elif kind == "tails":
            yield 1000 * usual * math.exp(draw.gauss(0, 0.4))
        elif kind == "wander":
            level += draw.gauss(0, 0.03)
            yield 1000 * usual * math.exp(level + draw.gauss(0, 0.1))
        else:
            yield poisson(draw, 40 * usual) * (6 if draw.random() < 0.02 else 1)


KINDS = ("counts", "few", "tails", "wander", "peaks")


def events(count: int, spec: ForecastSpec = DAYS, seed: int = 1, keys: str = "abcde") -> list[Event]:
    """Some events in each step, of keys that differ in size; a few come late."""
    draw, found = random.Random(seed), []
    for step in range(count):
        for number, key in enumerate(keys):
            for _ in range(1 + draw.randrange(3)):
                time_ms = BEGIN_MS + step * spec.step_ms + draw.randrange(spec.step_ms)
                found.append((time_ms, key, (1 + draw.random()) * 10 / 3**number))
    found.sort(key=lambda event: event[0] + draw.randrange(spec.step_ms // 10))
    return found


def told(forecaster: Forecaster, given: list[Event]) -> list[Departure]:
    return [departure for event in given for departure in forecaster.add(*event)]


# -- what is forecast ----------------------------------------------------------------------------------------


def test_a_series_that_repeats_itself_is_forecast_exactly() -> None:
    series = Series(DAYS)
    for step in range(140):
        series.learn(step, 100.0 * (1 + step % 7))
    for ahead, outlook in enumerate(series.outlook()):
        assert outlook.expected == pytest.approx(100 * (1 + (140 + ahead) % 7), rel=0.02)
        assert outlook.lower <= outlook.expected <= outlook.upper


def test_hours_have_a_day_and_a_week() -> None:
    series = Series(HOURS)
    for step in range(24 * 7 * 8):
        open_ = 8 <= step % 24 < 20 and step // 24 % 7 != 6
        series.learn(step, 500.0 if open_ else 0.0)
    for ahead, outlook in enumerate(series.outlook()):
        step = 24 * 7 * 8 + ahead
        want = 500.0 if 8 <= step % 24 < 20 else 0.0
        assert outlook.expected == pytest.approx(want, abs=30)


def test_it_is_better_than_last_week() -> None:
    series, last, ours, naive = Series(DAYS), [0.0] * 7, 0.0, 0.0
    for step, value in enumerate(numbers("tails", DAYS, 400, 3)):
        if step >= 100:
            ours += abs(series.outlook()[0].expected - value)
            naive += abs(last[step % 7] - value)
        series.learn(step, value)
        last[step % 7] = value
    assert ours < 0.85 * naive


def test_the_expected_number_is_the_mean_and_not_the_median() -> None:
    total = said = 0.0
    series = Series(DAYS)
    for step, value in enumerate(numbers("tails", DAYS, 3000, 4)):
        if step >= 100:
            total += value
            said += series.outlook()[0].expected
        series.learn(step, value)
    assert said == pytest.approx(total, rel=0.02)


def test_a_single_outlier_moves_the_forecast_little() -> None:
    series, disturbed = Series(DAYS), Series(DAYS)
    for step, value in enumerate(numbers("counts", DAYS, 200, 5)):
        series.learn(step, value)
        disturbed.learn(step, 100 * value if step == 199 else value)
    for plain, other in zip(series.outlook(), disturbed.outlook(), strict=True):
        assert other.expected == pytest.approx(plain.expected, rel=0.35)


def test_the_mixture_is_its_slow_twin() -> None:
    """Seasonal against the same models written with dictionaries and no mixture of state."""
    mine, twin = Seasonal((3,)), SlowSeasonal(3)
    draw = random.Random(9)
    for step in range(60):
        x = 5 + step % 3 + draw.gauss(0, 0.3)
        said = mine.forecast(step, 2)
        assert said == pytest.approx([twin.forecast(step), twin.forecast(step + 1)], rel=1e-9)
        scale = 0.4 if step > 4 else 0.0
        mine.learn(step, x, said[0], scale)
        twin.learn(step, x, said[0], scale)


class SlowSeasonal:
    def __init__(self, steps: int) -> None:
        self.steps, self.seen, self.outliers = steps, 0, 0
        self.models: list[dict[str, Any]] = [
            {"q": q, "level": 0.0, "p": 100.0, "slots": dict.fromkeys(range(steps), (0.0, 30.0)), "loss": 0.0}
            for q in (0.0001, 0.001, 0.01, 0.1)
        ]

    def forecast(self, step: int) -> float:
        weights = [math.exp(-m["loss"]) for m in self.models]
        said = [m["level"] + m["slots"][step % self.steps][0] for m in self.models]
        return sum(w * f for w, f in zip(weights, said, strict=True)) / sum(weights)

    def learn(self, step: int, x: float, forecast: float, scale: float) -> None:
        self.seen += 1
        reach = math.inf
        if scale and self.seen > 2 * self.steps:
            self.outliers = self.outliers + 1 if abs(x - forecast) > 2 * scale else 0
            if self.outliers <= 6:
                reach = 2 * scale
        for m in self.models:
            slot, variance = m["slots"][step % self.steps]
            error = x - m["level"] - slot
            if scale:
                m["loss"] = m["loss"] * (1 - 1 / (8 * self.steps)) + 0.5 * min(abs(error) / scale, 3) ** 2
            error = min(reach, max(-reach, error))
            total = 1 + m["p"] + variance
            m["level"] += m["p"] / total * error
            m["slots"][step % self.steps] = (
                slot + variance / total * error,
                variance * (1 - variance / total) + 0.001,
            )
            m["p"] = m["p"] * (1 - m["p"] / total) + m["q"]


# -- bounds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_what_they_say(kind: str, coverage: float) -> None:
    """Within five standard errors of binomial draws plus what adaptation may be off by.

    The guarantee (Gibbs and Candes, proposition 4.1): the share of misses of a side is off by less than
    (the range of the level) / (step x count).
    """
    spec, count, warm = replace(DAYS, coverage=coverage, horizon=3), 1500, 100
    for ahead in (0, 2):
        series, inside = Series(spec), 0
        waiting: dict[int, tuple[float, float]] = {}
        for step, value in enumerate(numbers(kind, spec, count, 11)):
            if step in waiting and step >= warm:
                lower, upper = waiting[step]
                inside += lower <= value <= upper
            series.learn(step, value)
            outlook = series.outlook()
            if outlook:
                waiting[step + 1 + ahead] = outlook[ahead].lower, outlook[ahead].upper
        share, judged = inside / (count - warm), count - warm
        margin = 5 * math.sqrt(coverage * (1 - coverage) / judged)
        assert share > coverage - margin
        # Nothing falls below a bound at zero, so that half of the misses may be missing.
        assert share < coverage + (1 - coverage) / 2 + margin


def test_a_level_follows_misses_and_hits() -> None:
    """The bound widens after each miss without end, so that no series stays outside for good."""
    intervals = Intervals(1, 0.9)
    draw = random.Random(2)
    for _ in range(300):
        intervals.learn(0, draw.gauss(0, 1), False, False)
    before = intervals.bounds()[0]
    for _ in range(30):
        intervals.learn(0, draw.gauss(0, 1), True, True)
    after = intervals.bounds()[0]
    assert after[0] < before[0] < 0 < before[1] < after[1]
    assert math.isfinite(after[0] + after[1])


# -- departures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [DAYS, HOURS], ids=["days", "hours"])
@pytest.mark.parametrize("kind", KINDS)
def test_false_alarms_are_no_more_than_declared(kind: str, spec: ForecastSpec) -> None:
    """Seeded: alarms in series without a departure, against the declared mean with three deviations of Poisson."""
    runs, count = 5, 1100
    spec = replace(spec, quiet_ms=0, horizon=1, alarm_ms=100 * spec.step_ms)
    alarms = 0
    for seed in range(runs):
        series = Series(spec)
        alarms += sum(
            series.learn(step, value) is not None
            for step, value in enumerate(numbers(kind, spec, count, seed))
        )
    allowed = runs * count / 100
    assert alarms <= allowed + 3 * math.sqrt(allowed)


@pytest.mark.parametrize("spec", [DAYS, HOURS], ids=["days", "hours"])
@pytest.mark.parametrize(("factor", "direction"), [(0.0, "below"), (0.4, "below"), (2.0, "above")])
def test_a_departure_is_found(spec: ForecastSpec, factor: float, direction: str) -> None:
    """Sales that stop, fall to two fifths or double: found in eight steps or less, nine times of ten."""
    found = 0
    for seed in range(10):
        series, begins = Series(replace(spec, horizon=1)), 24 * 30
        for step, value in enumerate(numbers("counts", spec, begins + 8, seed)):
            left = series.learn(step, value * (factor if step >= begins else 1))
            if left is not None and step >= begins and left.direction == direction:
                found += 1
                assert begins - 8 <= left.since <= left.step == step
                assert left.evidence >= 1
                break
    assert found >= 9


def test_a_series_is_quiet_after_a_departure() -> None:
    spec = replace(DAYS, quiet_ms=60 * DAY_MS, alarm_ms=10 * DAY_MS)
    series, steps = Series(spec), []
    for step, value in enumerate(numbers("counts", spec, 400, 1)):
        left = series.learn(step, value * (5 if step > 300 and step % 9 < 5 else 1))
        steps += [] if left is None or left.direction != "above" else [step]
    assert len(steps) > 0
    assert all(b - a >= 60 for a, b in pairwise(steps))
    assert series.hushed > 0


def test_evidence_keeps_its_run_length() -> None:
    """By chance alone the mean time to an alarm is no shorter than declared."""
    draw, lengths = random.Random(3), []
    for _ in range(300):
        evidence, steps = Evidence(0.05, 100.0), 1
        while not evidence.learn(steps, draw.random() < 0.05):
            steps += 1
        lengths.append(steps)
    assert sum(lengths) / len(lengths) >= 100


# -- steps, clocks and keys ----------------------------------------------------------------------------------


def test_steps_are_sums_of_their_events() -> None:
    """Against a plain sum of what is not late; the first step has begun before the first event."""
    given, forecaster = events(30, keys="a"), Forecaster(DAYS)
    seen: dict[int, float] = {}
    for time_ms, key, value in given:
        forecaster.add(time_ms, key, value)
        step = time_ms // DAY_MS
        if step > given[0][0] // DAY_MS:
            seen[step] = seen.get(step, 0.0) + value
    state = msgspec.msgpack.decode(forecaster.state(), strict=False)
    assert forecaster.taken + forecaster.late == len(given)
    assert len(state["open"]) >= 1
    for step, sums in state["open"].items():
        assert sums[TOTAL] == pytest.approx(seen[step])


def test_the_same_events_give_the_same_bytes_wherever_it_is_restored() -> None:
    given = events(60, KEYED)
    undisturbed = Forecaster(KEYED)
    all_told = told(undisturbed, given)
    for cut in (1, 30, 95, len(given) // 2, len(given) - 1):
        first = Forecaster(KEYED)
        found = told(first, given[:cut])
        again = Forecaster.restore(KEYED, first.state())
        assert again.state() == first.state()
        found += told(again, given[cut:])
        assert found == all_told
        assert again.state() == undisturbed.state()
        assert again.forecasts() == undisturbed.forecasts()


def test_restored_in_an_alarm_it_tells_the_same() -> None:
    draw = random.Random(4)
    given = [(BEGIN_MS + hour * HOUR_MS, "", draw.uniform(80, 120) * (hour < 900)) for hour in range(1000)]
    undisturbed, cut = Forecaster(HOURS), Forecaster(HOURS)
    found = told(undisturbed, given)
    first = told(cut, given[:903])
    assert first + told(Forecaster.restore(HOURS, cut.state()), given[903:]) == found
    assert [departure.direction for departure in found] == ["below"]
    assert found[0].value == 0.0
    assert found[0].since_ms == BEGIN_MS + 900 * HOUR_MS


def test_the_largest_keys_have_series_of_their_own() -> None:
    forecaster = Forecaster(KEYED)
    told(forecaster, events(40, KEYED))
    assert list(forecaster.series) == ["a", "b", "c", OTHER]
    assert {forecast.key for forecast in forecaster.forecasts()} == {"a", "b", "c", OTHER}
    forecast = forecaster.forecasts()[0]
    assert len(forecast.steps) == 7
    assert forecast.start_ms % DAY_MS == 0


def test_many_keys_are_bounded() -> None:
    forecaster, draw = Forecaster(KEYED), random.Random(6)
    for number in range(20_000):
        forecaster.add(BEGIN_MS + number * DAY_MS // 1000, f"key {draw.randrange(5000)}" * 30, 1.0)
    assert len(forecaster.series) == KEYED.series + 1
    assert len(forecaster.state()) < 50_000


def test_an_offset_moves_where_days_begin() -> None:
    forecaster = Forecaster(replace(DAYS, offset_ms=5 * HOUR_MS))
    told(forecaster, events(40, keys="a"))
    assert forecaster.forecasts()[0].start_ms % DAY_MS == 5 * HOUR_MS


def test_a_series_that_goes_silent_goes_to_zero() -> None:
    forecaster = Forecaster(KEYED)
    told(forecaster, events(60, KEYED))
    for step in range(60, 160):
        forecaster.add(BEGIN_MS + step * DAY_MS + 1, "b", 5.0)
    silent = next(forecast for forecast in forecaster.forecasts() if forecast.key == "a")
    assert silent.steps[0].expected < 0.5
    for step in range(160, 200):
        forecaster.add(BEGIN_MS + step * DAY_MS + 1, "a", 50.0)
    awake = next(forecast for forecast in forecaster.forecasts() if forecast.key == "a")
    assert awake.steps[0].expected == pytest.approx(50, rel=0.2)


def test_silence_closes_steps_by_the_clock() -> None:
    forecaster, draw = Forecaster(DAYS), random.Random(8)
    told(forecaster, [(BEGIN_MS + day * DAY_MS, "", draw.uniform(80, 120)) for day in range(60)])
    before = forecaster.forecasts()[0].start_ms
    departures = [d for day in range(60, 70) for d in forecaster.advance(BEGIN_MS + day * DAY_MS)]
    assert forecaster.forecasts()[0].start_ms >= before + 8 * DAY_MS
    assert [departure.direction for departure in departures] == ["below"]


def test_one_event_from_the_future_does_not_stop_the_clock() -> None:
    forecaster, plain = Forecaster(DAYS), Forecaster(DAYS)
    given = events(60, keys="a")
    told(plain, given)
    for number, event in enumerate(given):
        forecaster.add(*event)
        if number % 5 == 0:
            forecaster.add(BEGIN_MS + 3000 * DAY_MS, "a", 1.0)
    assert forecaster.strays == 1 + (len(given) - 1) // 5
    assert forecaster.forecasts() == plain.forecasts()


def test_a_wrong_first_time_is_forgotten() -> None:
    forecaster = Forecaster(DAYS)
    forecaster.add(BEGIN_MS + 9000 * DAY_MS, "a", 1.0)
    told(forecaster, events(60, keys="a"))
    assert forecaster.forecasts()[0].start_ms <= BEGIN_MS + 60 * DAY_MS
    assert forecaster.strays == 9


def test_after_a_long_gap_it_goes_on_with_what_it_knew() -> None:
    forecaster = Forecaster(DAYS)
    told(forecaster, [(BEGIN_MS + day * DAY_MS, "", 100.0) for day in range(100)])
    assert told(forecaster, [(BEGIN_MS + (400 + day // 10) * DAY_MS, "", 10.0) for day in range(60)]) == []
    assert forecaster.forecasts()[0].start_ms >= BEGIN_MS + 403 * DAY_MS
    assert forecaster.forecasts()[0].steps[0].expected == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_amounts_that_are_none_are_counted_and_pass_by(bad: float) -> None:
    forecaster, plain = Forecaster(DAYS), Forecaster(DAYS)
    for event in events(40, keys="a"):
        plain.add(*event)
        forecaster.add(*event)
        forecaster.add(event[0], "a", bad)
    assert forecaster.ignored == len(events(40, keys="a"))
    assert forecaster.forecasts() == plain.forecasts()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(BEGIN_MS, BEGIN_MS + 90 * DAY_MS) | st.integers(-(2**62), 2**62),
            st.sampled_from("abcdef"),
            st.floats(),
        ),
        max_size=150,
    ),
    st.sampled_from([DAYS, KEYED, replace(KEYED, horizon=48)]),
)
def test_whatever_comes_all_is_finite(given_events: list[Event], spec: ForecastSpec) -> None:
    forecaster = Forecaster(spec)
    for event in sorted(given_events, key=lambda event: event[0] // (5 * DAY_MS)):
        forecaster.add(*event)
    for day in range(20, 140, 5):
        forecaster.advance(BEGIN_MS + day * DAY_MS)
    for forecast in forecaster.forecasts():
        for lower, expected, upper in ((o.lower, o.expected, o.upper) for o in forecast.steps):
            assert math.isfinite(lower + upper)
            assert lower <= expected <= upper
    assert Forecaster.restore(spec, forecaster.state()).state() == forecaster.state()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e15, 1e15) | st.just(0.0) | st.floats(-10, 10), min_size=20, max_size=120))
def test_whatever_sums_come_bounds_are_in_order(values: list[float]) -> None:
    series = Series(DAYS)
    for step, value in enumerate(values):
        series.learn(step, value)
        for outlook in series.outlook():
            assert math.isfinite(outlook.lower)
            assert math.isfinite(outlook.upper)
            assert outlook.lower <= outlook.expected <= outlook.upper


# -- state ---------------------------------------------------------------------------------------------------


def spoilt() -> Iterator[tuple[str, bytes]]:
    forecaster = Forecaster(KEYED)
    told(forecaster, events(40, KEYED))
    plain = msgspec.msgpack.decode(forecaster.state(), strict=False)
    series = plain["series"]["a"]
    nan = b"\0\0\0\0\0\0\xf8\x7f"

    def with_series(**changes: object) -> bytes:
        return msgspec.msgpack.encode({**plain, "series": {"a": {**series, **changes}}})

    yield "empty", b""
    yield "no map", b"\x90"
    yield "format", msgspec.msgpack.encode({**plain, "format": 2})
    yield "identity", msgspec.msgpack.encode({**plain, "identity": "other"})
    yield "counts", msgspec.msgpack.encode({**plain, "counts": [1, 2, 3]})
    yield "negative", msgspec.msgpack.encode({**plain, "counts": [1, -2, 3, 4]})
    yield "step", msgspec.msgpack.encode({**plain, "next": -5})
    yield "clock", msgspec.msgpack.encode({**plain, "next": None})
    yield "sum", msgspec.msgpack.encode({**plain, "open": {plain["next"]: {"a": math.nan}}})
    yield "trial", msgspec.msgpack.encode({**plain, "trial": [{}] * 8})
    yield "many", msgspec.msgpack.encode({**plain, "series": dict.fromkeys("abcdefgh", series)})
    yield "field", msgspec.msgpack.encode({**plain, "more": 1})
    yield "short", with_series(seasonal=series["seasonal"][:-1])
    yield "nan", with_series(seasonal=nan + series["seasonal"][8:])
    yield "below", with_series(seasonal=series["seasonal"][:-8] + b"\0\0\0\0\0\0\xf0\xbf")
    yield "numbers", with_series(numbers=nan + series["numbers"][8:])
    yield "latest", with_series(latest=b"")
    yield "waiting", with_series(waiting=[b""] * 3)
    yield "evidence", with_series(evidence=[math.nan, 0.0])
    yield "directions", with_series(quiet=[0])


SPOILT = dict(spoilt())


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_no_state_is_poison(what: str) -> None:
    with pytest.raises(Poison, match="not the state of forecast sales"):
        Forecaster.restore(KEYED, SPOILT[what])


def test_a_state_is_small() -> None:
    spec = replace(HOURS, by="category", series=12)
    forecaster = Forecaster(spec)
    told(forecaster, events(24 * 20, spec, keys="abcdefghijklmn"))
    assert len(forecaster.series) == 13
    assert len(forecaster.state()) < 300_000


# -- the declaration -----------------------------------------------------------------------------------------

GOOD = """\
forecasts:
  sales:
    topic: sales.events
    kinds: [order]
    measure: {sum: amount}
    step: 1d
    horizon: 7d
    by: category
    coverage: 0.8
"""


def test_the_shipped_file_is_good() -> None:
    assert [spec.name for spec in load_forecasts(FILE)] == [
        "sales_by_day",
        "sales_by_hour",
        "demand_by_category",
    ]


def test_it_reads_a_declaration(tmp_path: Path) -> None:
    path = tmp_path / "forecasts.yaml"
    path.write_text(GOOD, encoding="utf-8")
    (spec,) = load_forecasts(path)
    assert spec == replace(KEYED, series=12, coverage=0.8, lateness_ms=0)
    path.write_text(GOOD.replace("{sum: amount}", "count"), encoding="utf-8")
    assert load_forecasts(path)[0].field is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("forecasts:", "forecast:", "1: unknown key 'forecast'; expected one of ['forecasts']"),
        ("  sales:", "  sa-les:", "2: forecast 'sa-les': expected letters, digits and underscores"),
        ("    step: 1d\n", "", "3: missing key 'step'"),
        ("step: 1d", "step: 2d", "6: step: expected 1h or 1d, got '2d'"),
        ("horizon: 7d", "horizon: 49d", "7: horizon: expected 1 to 48 whole steps such as 7d, got '49d'"),
        ("horizon: 7d", "horizon: 36h", "7: horizon: expected 1 to 48 whole steps such as 7d, got '36h'"),
        ("{sum: amount}", "mean", "5: measure: expected count or {sum: FIELD}, got 'mean'"),
        ("[order]", "order", "4: kinds: expected a list of event kinds such as [order], got 'order'"),
        ("0.8", "1.0", "9: coverage: expected a number from 0.5 to 0.99, got 1.0"),
        ("coverage: 0.8", "series: 51", "9: series: expected a whole number from 1 to 50, got 51"),
        ("coverage: 0.8", "offset: 1d", "9: offset: expected less than a step, got '1d'"),
        ("coverage: 0.8", "alarm: 2d", "9: alarm: expected ten steps or more, got '2d'"),
        ("by: category", "by: 3", "8: by: expected a name, got 3"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "forecasts.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_forecasts(path)
    assert str(caught.value) == f"{path}:{said}"
