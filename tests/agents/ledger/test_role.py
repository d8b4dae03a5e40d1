"""The ledger role: what SQL has decides, SQL away is waited for, what makes no row is a dead letter."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from faust.types.tuples import TP

import agents.ledger.role
import schemas
from agents.ledger.role import LedgerRole
from config.settings import Settings, load_settings
from serving.ledger.ledger import Ledger, Record, Written
from streams.batches.builder import raw_batch
from streams.errors import Fatal, Poison, Retryable
from tests.doubles import CapturedOutputs

Encode = Callable[[str, Sequence[dict[str, Any]]], list[bytes]]
MakeDecision = Callable[..., dict[str, Any]]
ALERTS = TP("alerts", 0)


class FakeLedger:
    """SQL that is away for the first `failures` calls, and refuses the rows of some offsets."""

    def __init__(self, failures: int = 0, refused: tuple[int, ...] = ()) -> None:
        self.failures, self.refused = failures, refused
        self.rows: list[Record] = []

    def write(self, batch: Sequence[Record]) -> Written:
        self._away()
        for topic, partition, offset, _ in batch:
            if offset in self.refused:
                raise Poison("no row can be made of it", topic=topic, partition=partition, offset=offset)
        self.rows += batch
        return Written(len(batch), 0)

    def applied(self) -> dict[tuple[str, int], int]:
        self._away()
        return {("alerts", 0): 41}

    def _away(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Retryable("SQL ledger at nowhere: refused")


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LedgerRole:
    """A ledger role that holds alerts[0] from offset 0 on, without a broker."""
    monkeypatch.setattr(agents.ledger.role, "BACKOFF_FIRST_S", 0.001)
    made = LedgerRole(load_settings(kafka="127.0.0.1:1", partitions=1, state=tmp_path, ledger_port=0))
    made.http.server._server.server_close()
    made.ledger.close()
    made.letters._outputs = CapturedOutputs()  # type: ignore[assignment]
    made.intake.positions = {ALERTS: 0}
    made.intake.assigned = True
    return made


def letters(role: LedgerRole) -> list[dict[str, Any]]:
    captured: Any = role.letters._outputs
    return [schemas.decode(sent.value)[1] for sent in captured.of("dead-letters")]


def test_sql_away_is_waited_for_and_nothing_is_lost(
    role: LedgerRole, decision: MakeDecision, encode: Encode
) -> None:
    fake: Any = FakeLedger(failures=4)
    role.ledger = fake
    values = encode("decision", [decision(n) for n in range(3)])
    asyncio.run(role.take([(ALERTS, raw_batch(0, [(b"k", value) for value in values]))]))
    assert [offset for _, _, offset, _ in fake.rows] == [0, 1, 2]
    assert role.intake.positions == {ALERTS: 3}
    assert role.ready() == (True, "")


def test_while_sql_is_away_the_role_is_not_ready_and_says_why(role: LedgerRole) -> None:
    role.away = "SQL ledger at nowhere: refused"
    assert role.ready() == (False, "SQL ledger at nowhere: refused")


def test_what_makes_no_row_is_a_dead_letter_and_the_rest_is_written(
    role: LedgerRole, decision: MakeDecision, encode: Encode
) -> None:
    fake: Any = FakeLedger(refused=(1,))
    role.ledger = fake
    outcome = schemas.encode("outcome", {"id": "1", "customer": "c", "offer": "o", "kind": "sent", "time": 1})
    values = [*encode("decision", [decision(n) for n in range(2)]), b"nonsense", None, outcome]
    asyncio.run(role.take([(ALERTS, raw_batch(0, [(b"k", value) for value in values]))]))
    assert [offset for _, _, offset, _ in fake.rows] == [0]
    found = letters(role)
    assert sorted(letter["offset"] for letter in found) == [1, 2, 3, 4]
    assert {letter["offset"]: letter["value"] for letter in found}[1] == values[1]
    assert role.status()["dead_letters"] == {"not a record of alerts": 4}
    assert role.intake.positions == {ALERTS: 5}


def test_reading_goes_on_behind_what_sql_has_whatever_kafka_says(role: LedgerRole) -> None:
    fake: Any = FakeLedger(failures=1)
    role.ledger = fake

    async def earliest(tps: Any) -> dict[TP, int]:
        return dict.fromkeys(tps, 7)

    role.intake.earliest = earliest  # type: ignore[method-assign]
    other = TP("offers", 0)
    assert asyncio.run(role.begin({ALERTS: (90, 100), other: (50, 60)})) == {ALERTS: 42, other: 7}


def test_topics_made_anew_under_an_old_ledger_end_the_role(role: LedgerRole) -> None:
    fake: Any = FakeLedger()
    fake.address = "ledger.db"
    role.ledger = fake
    with pytest.raises(
        Fatal, match=r"alerts\[0\] ends at offset 10, but the ledger at ledger\.db holds offset 41"
    ):
        asyncio.run(role.begin({ALERTS: (0, 10)}))


def ids(path: Path, table: str) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = [row[0] for row in connection.execute(f"SELECT id FROM {table}")]
    connection.close()
    return found


def test_kill_and_lost_sql_neither_lose_nor_double_a_decision(
    broker: Any, settings: Settings, start: Any, until: Any, decision: MakeDecision, encode: Encode
) -> None:
    """The promise: through kill -9, and when the database comes back older than what Kafka has committed."""
    path = settings.state / "ledger.db"
    alerts = encode("decision", [decision(n) for n in range(600)])
    offers = encode("decision", [decision(n, "offer") for n in range(300)])
    first = start("ledger")
    broker.send("alerts", alerts[:300])
    until(lambda: len(ids(path, "alerts")) > 0)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    broker.send("alerts", alerts[300:], partition=1)
    broker.send("offers", offers)
    second = start("ledger")
    until(lambda: len(ids(path, "alerts")) == 600 and len(ids(path, "offers")) == 300)
    assert len(set(ids(path, "alerts"))) == 600
    second.terminate()
    assert second.wait(15) == 0

    for part in settings.state.glob("ledger.db*"):  # a restored backup: older than the committed offsets
        part.unlink()
    Ledger(settings.ledger_url).open().close()
    start("ledger")
    until(lambda: len(ids(path, "alerts")) == 600 and len(ids(path, "offers")) == 300)
