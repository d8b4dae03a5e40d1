"""Rows are spread evenly while there is time, and get half of the loop's when they fall behind."""

from __future__ import annotations

import asyncio

import pytest

from streams.durability.pacing import AHEAD_S, LEAST_ROWS, Pace

ROWS = 100_000


class Time:
    """A clock that a sleep moves; while others are given a turn it moves by what they take."""

    def __init__(self, others_s: float = 0.0) -> None:
        self.now, self.others_s, self.turns = 0.0, others_s, 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.turns += 1
        self.now += max(seconds, self.others_s)


@pytest.fixture(params=[0.0])
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Time:
    """`asyncio.sleep` on a clock of our own; the parameter is what others take of the loop a turn."""
    time = Time(others_s=request.param)
    monkeypatch.setattr(asyncio, "sleep", time.sleep)
    return time


def write(time: Time, spread_s: float, rows: int, row_s: float, hurried: bool = False) -> float:
    """Seconds that `rows` rows take, 256 at a time."""

    async def run() -> float:
        pace = Pace(rows, spread_s, lambda: hurried, time)
        while pace.written < rows:
            some = min(256, rows - pace.written)
            time.now += some * row_s
            await pace.turn(some)
        return time.now

    return asyncio.run(run())


def test_in_time_rows_take_the_whole_spread(clock: Time) -> None:
    assert 1.99 < write(clock, 2.0, ROWS, 1e-6) < 2.01
    assert clock.turns >= ROWS // 256


@pytest.mark.parametrize("clock", [0.2], indirect=True)
def test_behind_rows_and_folds_have_turns_of_equal_length(clock: Time) -> None:
    assert 1.8 < write(clock, 1.9, 1_000_000, 1e-6) < 2.2  # a second of rows, a second of folds


@pytest.mark.parametrize("clock", [0.2], indirect=True)
def test_far_behind_rows_have_the_larger_share(clock: Time) -> None:
    assert write(clock, 0.5, 10_000_000, 1e-6) < 13.0  # ten seconds of rows


def test_hurried_rows_do_not_pause(clock: Time) -> None:
    assert write(clock, 2.0, ROWS, 1e-6, hurried=True) < 0.11


def test_what_is_packed_at_a_time_follows_the_clock() -> None:
    time = Time()
    pace = Pace(ROWS, 2.0, lambda: False, time)
    assert pace.due() == max(LEAST_ROWS, int(ROWS * AHEAD_S / 2.0))
    time.now = 1.0
    assert pace.due() == int(ROWS * (1.0 + AHEAD_S) / 2.0)
    pace.written = ROWS
    assert pace.due() == LEAST_ROWS
    assert Pace(ROWS, 0.0, lambda: False, time).due() == ROWS
    assert Pace(ROWS, 2.0, lambda: True, time).due() == ROWS
