"""The watchdog names the step that stands still, and takes nobody's absence for a hang."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streams.supervision.watchdog import LONGER, LOOP, Steps, Watch, Watchdog

ROOT = Path(__file__).parents[3]
STALL_S = 60.0


class Bench:
    """A watchdog whose clock is turned by hand; `state` is what waits."""

    def __init__(self, *watches: Watch) -> None:
        self.now = 1000.0
        self.state: dict[str, object] = {}
        self.gone = ""
        self.asked = 0
        self.dog = Watchdog(
            [Watch(lambda: self.state), *watches], away=self._away, stall_s=STALL_S, clock=lambda: self.now
        )

    def _away(self) -> str:
        self.asked += 1
        return self.gone

    def after(self, seconds: float, each: Callable[[], None] = lambda: None) -> str | None:
        """Check every two seconds; what was wrong at last."""
        wrong = None
        for _ in range(round(seconds / 2)):
            self.now += 2.0
            each()
            wrong = self.dog.check()
        return wrong


def test_a_step_that_stands_still_is_named() -> None:
    bench = Bench()
    bench.state = {"offsets committed": 7}
    assert bench.after(STALL_S) is None
    assert bench.after(4) == "step offsets committed has stood still for 62 s"


def test_any_progress_counts_and_so_does_nothing_to_do() -> None:
    bench = Bench()

    def move() -> None:
        bench.state = {"fold": bench.now // 50}

    assert bench.after(500, move) is None
    bench.state = {}
    assert bench.after(500) is None
    bench.state = {"fold": 1}
    assert bench.after(STALL_S) is None


def test_the_first_watch_is_to_blame_and_a_patient_one_waits_longer() -> None:
    catch_all: dict[str, object] = {"fold": 0}
    bench = Bench(Watch(lambda: catch_all, LONGER))
    bench.state = {"fetch of web.events[3]": 41}
    assert str(bench.after(STALL_S + 4)).startswith("step fetch of web.events[3] has stood still for")
    bench.state = {}
    assert bench.after(LONGER * STALL_S - STALL_S - 4) is None
    assert str(bench.after(6)).startswith("step fold has stood still for 12")


def test_while_somebody_outside_does_not_answer_no_time_counts() -> None:
    """An hour without a broker, then a hang: the whole stall time after it came back."""
    bench = Bench()
    bench.state = {"outputs acknowledged": 3}
    bench.gone = "no Kafka broker answers"
    assert bench.after(3600) is None
    assert bench.dog.away == "no Kafka broker answers"
    assert bench.asked < 3600 / 2 / 4  # not at every check
    bench.gone = ""
    assert bench.after(STALL_S - 4) is None
    assert str(bench.after(20)).startswith("step outputs acknowledged has stood still")


def test_who_moves_is_not_asked_about() -> None:
    bench = Bench()

    def move() -> None:
        bench.state = {"fold": bench.now}

    bench.after(300, move)
    assert bench.asked == 0


def test_a_process_that_was_stopped_has_all_its_time_afterwards() -> None:
    """SIGSTOP, a laptop that slept: not its own fault."""
    bench = Bench()
    bench.state = {"publish": 1}
    bench.after(10)
    bench.now += 900
    assert bench.dog.check() is None
    assert bench.after(STALL_S - 4) is None
    assert bench.after(8) is not None


def test_a_look_or_a_question_that_takes_long_is_no_such_stop() -> None:
    """A broker that is slow to say that it is there must not give a hang its time again."""
    bench = Bench()
    bench.state = {"fold": 1}
    look, ask = bench.dog._watches[1].waiting, bench.dog._ask

    def slowly() -> Mapping[str, object]:
        bench.now += 40.0
        return look()

    def answer() -> str:
        bench.now += 40.0
        return ask()

    bench.dog._watches[1], bench.dog._ask = Watch(slowly), answer
    assert bench.after(10) is not None


def test_steps_under_way() -> None:
    steps = Steps()
    assert steps.waiting() == {}
    with steps("write"):
        first = steps.waiting()
        assert set(first) == {"write"}
        assert "write" in steps
    with steps("write"):
        assert steps.waiting() != first  # once more is progress
    assert "write" not in steps


def stand(until: threading.Event) -> None:
    until.wait()


def pay(until: threading.Event) -> None:
    stand(until)


def send(until: threading.Event) -> None:
    """The outer one of two that are watched."""
    pay(until)


def test_a_loop_that_does_not_turn_is_placed_by_its_stack() -> None:
    lines: list[str] = []
    over = threading.Event()

    def end(line: str) -> None:
        lines.append(line)
        over.set()

    watches = [Watch(dict, functions={send: "shipped", Bench.after: "aged"}), Watch(dict, 1.0, {pay: "paid"})]
    dog = Watchdog(watches, stall_s=0.5, end=end)

    async def work() -> None:
        task = asyncio.ensure_future(dog.keep_beating())
        await asyncio.sleep(0.2)
        send(over)
        task.cancel()

    dog.start()
    asyncio.run(asyncio.wait_for(work(), 30))
    dog.stop()
    assert lines[0].startswith("watchdog: step paid (the event loop is in wait, threading.py:")
    assert lines[0].endswith("; the process ends so that another takes over")


def test_a_function_is_known_by_itself_and_not_by_its_name() -> None:
    class Elsewhere:
        def send(self) -> None: ...

    dog = Watchdog([Watch(dict, functions={Elsewhere.send: "shipped", Elsewhere().send: "shipped"})])
    assert list(dog._step_of.values()) == ["shipped"]
    assert send.__code__ not in dog._step_of


def test_a_role_is_alive_while_its_loop_beats_and_nothing_stands_still() -> None:
    bench = Bench()
    dog = bench.dog
    assert dog.live() == (True, "")  # it has not begun

    async def work() -> None:
        task = asyncio.ensure_future(dog.keep_beating())
        await asyncio.sleep(0)
        bench.now += STALL_S - 1
        assert dog.live() == (True, "")
        bench.now += 2
        assert dog.live() == (False, "the event loop has stood still for 61 s")
        bench.gone = "no Kafka broker answers"
        assert not dog.live()[0]  # the broker's absence is no excuse for a loop that hangs
        task.cancel()

    asyncio.run(work())


def test_whoever_is_away_leaves_a_role_alive() -> None:
    bench = Bench()
    bench.state, bench.gone = {"outputs acknowledged": 3}, "no Kafka broker answers"
    assert bench.after(3600) is None
    assert bench.dog.live() == (True, "")


def test_a_step_that_stands_still_or_a_watchdog_that_does_not_look_is_no_life() -> None:
    ended = threading.Event()

    def end(line: str) -> None:
        ended.set()
        hold.wait(30)

    hold = threading.Event()
    now = [1000.0]
    dog = Watchdog([Watch(lambda: {"publish": 1})], stall_s=STALL_S, clock=lambda: now[0], end=end)
    dog._check_s = 0.01
    dog.start()
    assert dog.live() == (True, "")
    while not ended.is_set():
        now[0] += 0.001 * STALL_S
        ended.wait(0.005)
    assert dog.live()[1].startswith("step publish has stood still for 6")
    dog._found = ""
    now[0] += 3 * STALL_S
    assert dog.live()[1].startswith("the watchdog has not looked for 18")
    dog.stop()
    hold.set()
    assert dog.live() == (True, "")  # it was asked to stop


def test_without_a_loop_nothing_beats() -> None:
    assert LOOP not in Watchdog([])._beating()


HELD = """
import ctypes, threading, time
import streams.supervision.watchdog as watchdog
watchdog.CHECK_S, watchdog.DEAF_S = 0.1, 1.0
dog = watchdog.Watchdog([], stall_s=0.2).start()
time.sleep(0.5)
ctypes.PyDLL(None).sleep(60)  # holds the interpreter: no thread of Python's gets a turn
"""


def test_an_interpreter_that_is_held_for_good_is_ended_too() -> None:
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", HELD], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert ended.returncode == 1
    assert time.monotonic() - began < 40
    assert "Timeout" in ended.stderr
    assert "most recent call first" in ended.stderr


def test_a_watch_that_fails_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Else nobody would watch any more."""
    lines: list[str] = []
    over = threading.Event()

    def broken() -> dict[str, Any]:
        raise RuntimeError("dictionary changed size during iteration")

    def end(line: str) -> None:
        lines.append(line)
        over.set()

    dog = Watchdog([Watch(broken)], stall_s=0.5, end=end).start()
    assert over.wait(10)
    dog.stop()
    assert "RuntimeError: dictionary changed size" in lines[0]
