"""Each record is in the ledger exactly once, whatever was replayed, in SQLite and in PostgreSQL."""

from __future__ import annotations

import math
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from schemas.registry import decode, encode
from serving.ledger.ledger import Ledger, Record, Written
from serving.ledger.tables import METADATA, storable
from streams.errors import Fatal, Poison, Retryable


def decision(number: int, **changes: Any) -> dict[str, Any]:
    receipt = {
        "layout": -(2**62),
        "snapshots": [7, 2**40],
        "scores": [0.1, math.nan],
        "fields": [1.5],
        "values": [3.25] * 5,
    }
    made = {
        "id": f"sales.events:3:{number}:churn-risk",
        "customer": f"household-{number}",
        "policy": "churn-risk",
        "kind": "alert",
        "time": 1_489_000_000_000 + number,
        "cause": "order",
        "topic": "sales.events",
        "partition": 3,
        "offset": number,
        "receipt": receipt,
    }
    return made | changes


def alerts(*numbers: int) -> list[Record]:
    return [("alerts", 3, number, decision(number)) for number in numbers]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'made' / 'ledger.db'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger(url).open()
    yield opened
    if url.startswith("postgresql"):
        METADATA.drop_all(opened._engine)
    opened.close()


def test_what_is_written_is_read_back_bit_for_bit(ledger: Ledger) -> None:
    assert ledger.write(alerts(1, 2)) == Written(inserted=2, repeated=0)
    assert ledger.counts() == {"alerts": 2, "offers": 0, "outcomes": 0}
    newest, _ = ledger.newest("alert", 10)
    expected = decision(2)
    receipt = expected.pop("receipt")
    assert {name: newest[name] for name in expected} == expected
    assert (newest["layout"], newest["snapshots"]) == (receipt["layout"], receipt["snapshots"])
    assert (newest["fields"], newest["values"]) == (receipt["fields"], receipt["values"])
    assert struct.pack("<2d", *newest["scores"]) == struct.pack("<2d", *receipt["scores"])


def test_records_as_the_schemas_decode_them_are_taken(ledger: Ledger) -> None:
    outcome = {
        "id": "o1",
        "customer": "a",
        "offer": "18",
        "kind": "redeemed",
        "time": 5,
        "value": None,
    }
    batch: list[Record] = [
        ("offers", 0, 0, decode(encode("decision", decision(1, kind="offer")))[1]),
        ("offer.outcomes", 0, 0, decode(encode("outcome", outcome))[1]),
    ]
    assert ledger.write(batch) == Written(2, 0)
    assert ledger.newest("outcome", 1) == [outcome]
    assert ledger.newest("offer", 1)[0]["kind"] == "offer"


def test_receipts_that_are_packed_already_are_kept_as_they_are(ledger: Ledger) -> None:
    packed = {name: struct.pack("<2d", 1, 2) for name in ("scores", "fields", "values")}
    receipt = {"layout": 1, "snapshots": struct.pack("<q", 9), **packed}
    ledger.write([("alerts", 0, 0, decision(1, receipt=receipt))])
    newest = ledger.newest("alert", 1)[0]
    assert (newest["snapshots"], newest["values"]) == ([9], [1.0, 2.0])


def test_an_id_that_is_there_is_dropped_within_a_batch_and_across_batches(ledger: Ledger) -> None:
    assert ledger.write(alerts(1, 2, 1)) == Written(2, 1)
    assert ledger.write(alerts(2, 3)) == Written(1, 1)
    assert ledger.write([]) == Written(0, 0)
    assert ledger.counts()["alerts"] == 3


def test_applied_offsets_rise_and_never_fall_back_in_a_replay(ledger: Ledger) -> None:
    assert ledger.applied() == {}
    ledger.write([*alerts(1, 9, 4), ("offers", 0, 5, decision(20, kind="offer"))])
    assert ledger.applied() == {("alerts", 3): 9, ("offers", 0): 5}
    ledger.write(alerts(4))
    assert ledger.applied() == {("alerts", 3): 9, ("offers", 0): 5}


def test_a_batch_with_a_bad_record_leaves_nothing_and_says_where_it_is(ledger: Ledger) -> None:
    broken: Record = ("alerts", 3, 2, {"id": "x"})
    with pytest.raises(Poison, match=r"alerts\[3\]@2: no row of alerts .*receipt"):
        ledger.write([*alerts(1), broken])
    assert ledger.counts()["alerts"] == 0
    assert ledger.applied() == {}


def test_effects_and_offsets_are_one_transaction(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(text("DROP TABLE applied"))
    with pytest.raises(Fatal, match="applied"):
        ledger.write(alerts(1))
    assert ledger.counts()["alerts"] == 0


def test_opening_twice_keeps_what_is_there(ledger: Ledger, url: str) -> None:
    ledger.write(alerts(1))
    again = Ledger(url).open()
    assert again.write(alerts(1, 2)) == Written(1, 1)
    again.close()


def test_several_ledgers_may_open_and_write_at_once(ledger: Ledger, url: str) -> None:
    written: list[Written] = []

    def work() -> None:
        other = Ledger(url).open()
        written.extend(other.write(alerts(*range(start, start + 20))) for start in range(0, 100, 20))
        other.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(some.inserted for some in written) == ledger.counts()["alerts"] == 100
    assert sum(some.repeated for some in written) == 300


@pytest.mark.parametrize(
    "customer", ["a\0b", "\ud800", "a\\b", "é漢😀", "'; DROP TABLE alerts; --", b"\xff\0"]
)
def test_no_customer_key_holds_up_the_ledger(ledger: Ledger, customer: str | bytes) -> None:
    assert ledger.write([("alerts", 0, 0, decision(1, customer=customer))]) == Written(1, 0)
    assert ledger.newest("alert", 1)[0]["customer"] == storable(customer)


@given(st.lists(st.text("\\x0\0aé\ud800", max_size=6), unique=True, max_size=20))
def test_different_keys_stay_different(keys: list[str]) -> None:
    kept = {storable(key) for key in keys}
    assert len(kept) == len(keys)
    assert all("\0" not in key and key.encode() for key in kept if key)


@given(st.binary(max_size=8))
def test_a_key_is_the_same_as_text_and_as_bytes(key: bytes) -> None:
    try:
        assert storable(key) == storable(key.decode())
    except UnicodeDecodeError:
        storable(key).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=6))
def test_any_replay_gives_each_id_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path_factory.mktemp('replay') / 'ledger.db'}").open()
    written = [ledger.write(alerts(*batch)) for batch in batches]
    every = {number for batch in batches for number in batch}
    assert {row["offset"] for row in ledger.newest("alert", 100)} == every
    assert sum(some.inserted for some in written) == len(every)
    assert sum(sum(some) for some in written) == sum(map(len, batches))
    assert ledger.applied() == ({("alerts", 3): max(every)} if every else {})
    ledger.close()


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("not a url", "cannot be read"),
        ("postgresql://u:secret@host:port/db", "cannot be read"),
        ("mysql://u:secret@host/db", "names mysql"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_an_unusable_url_ends_the_role_without_telling_the_password(url: str, line: str) -> None:
    with pytest.raises(Fatal, match=line) as raised:
        Ledger(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_database_that_is_away_is_retryable_and_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    ledger = Ledger("postgresql://user:secret@127.0.0.1:1/db?password=secret")
    with pytest.raises(Retryable, match=r"postgresql://user@127\.0\.0\.1:1/db: .*start PostgreSQL") as raised:
        ledger.open()
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    ledger.close()


def test_a_locked_file_is_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.sql.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}").open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match=r"ledger\.db: database is locked"):
        ledger.write(alerts(1))
    other.execute("ROLLBACK")
    other.close()
    assert ledger.write(alerts(1)) == Written(1, 0)
    ledger.close()


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_are_fatal(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("this is a letter, not a database" * 100)
    ledger = Ledger(f"sqlite:///{path}")
    with pytest.raises(Fatal, match="not a database"):
        ledger.open()
    ledger.close()
    with pytest.raises(Fatal, match="folder of the ledger"):
        Ledger(f"sqlite:///{path}/inside/ledger.db").open()


def test_a_topic_without_a_table_is_fatal(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").open()
    with pytest.raises(Fatal, match="no table for topic cases: it reads alerts, offers"):
        ledger.write([("cases", 0, 0, decision(1))])
    ledger.close()
