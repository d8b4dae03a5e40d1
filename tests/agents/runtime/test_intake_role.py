"""Every role on an intake lives and answers alike: ready, healthy, watched, and done with however it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from faust.types.tuples import TP

from agents.runtime.intake_role import IntakeRole
from config.settings import Settings, load_settings
from schemas.topics import EXAMPLES
from streams.errors import Fatal
from streams.intake.intake import Batches, Bounds


class Counts(IntakeRole):
    """Counts batches, and does what it is told to before and after."""

    NAME = "learner"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "test-counts", [EXAMPLES])
        self.seen: list[str] = []
        self.misses = ""
        self.fails = False

    async def begin(self, bounds: Bounds) -> dict[TP, int]:
        self.seen.append("begun")
        return {tp: start for tp, (start, _) in bounds.items()}

    async def take(self, batches: Batches) -> None:
        self.seen.append("taken")
        for tp, batch in batches:
            self.intake.taken(tp, batch.next_offset, self.intake.epoch)

    async def commit(self) -> dict[TP, int]:
        return dict(self.intake.positions)

    def waits_for(self) -> str:
        return self.misses

    async def prepare(self) -> None:
        self.seen.append("prepared")
        if self.fails:
            raise Fatal("it cannot be prepared")

    async def finish(self) -> None:
        self.seen.append("finished")


@pytest.fixture
def role(settings: Settings) -> Counts:
    made = Counts(settings)
    made.watchdog._end = lambda line: pytest.fail(line)  # not the process of the tests
    return made


def get(role: Counts, path: str) -> tuple[int, str]:
    answer = httpx.get(f"http://{role.address}{path}")
    return answer.status_code, answer.text.strip()


def test_it_is_ready_when_nobody_is_away_and_it_holds_what_it_needs(role: Counts) -> None:
    role.watchdog.away, role.misses, role.whole = "no broker", "no corrections", False
    said = []
    mended: list[tuple[Any, str, object]] = [
        (role.watchdog, "away", ""), (role, "misses", ""), (role.intake, "assigned", True), (role, "whole", True),
    ]  # fmt: skip
    for owner, name, value in mended:
        ready, reason = role.ready()
        assert not ready
        said.append(reason)
        setattr(owner, name, value)
    alone = "another learner is in the group: learning waits until one of them ends"
    assert said == ["no broker", "no corrections", "partitions are being assigned", alone]
    assert role.ready() == (True, "")
    role.http.stop()


def test_it_says_that_it_is_ready_takes_what_comes_and_is_healthy(
    role: Counts, broker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.send(EXAMPLES, [b"x"])

    async def live() -> None:
        running = asyncio.ensure_future(role.run())
        while "taken" not in role.seen or not role.ready()[0]:
            await asyncio.sleep(0.05)
            assert not running.done()
        while "ready" not in capsys_seen():
            await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, get, role, "/healthz") == (200, "live")
        assert await loop.run_in_executor(None, get, role, "/readyz") == (200, "ready")
        await role.intake.app.stop()
        await running

    told: list[str] = []

    def capsys_seen() -> str:
        told.append(capsys.readouterr().out)
        return "".join(told)

    address = role.address
    asyncio.run(asyncio.wait_for(live(), 60))
    assert f"learner ready http://{address}\n" in "".join(told)
    assert (role.seen[0], role.seen[-1]) == ("prepared", "finished")
    assert {"role", "lag", "missed", "commit_age_s", "partitions"} <= set(role.status())


def test_what_it_holds_is_let_go_of_when_it_cannot_begin(role: Counts) -> None:
    role.fails = True
    with pytest.raises(Fatal, match="it cannot be prepared"):
        asyncio.run(role.run())
    assert role.seen == ["prepared", "finished"]
    with pytest.raises(httpx.TransportError):
        get(role, "/healthz")


def test_each_role_has_the_port_of_its_name(tmp_path: Any) -> None:
    from agents.analyst.role import AnalystRole
    from agents.learner.role import LearnerRole
    from agents.ledger.role import LedgerRole
    from agents.reader.role import ReaderRole

    ports = {"learner_port": 0, "ledger_port": 0, "analyst_port": 0, "reader_port": 0}
    settings = load_settings(kafka="127.0.0.1:1", partitions=1, state=tmp_path, **ports)
    for kind in (LearnerRole, LedgerRole, AnalystRole, ReaderRole):
        role = kind(settings)
        assert role.status()["role"] == role.NAME
        assert (tmp_path / role.NAME).is_dir()
        role.http.stop()
