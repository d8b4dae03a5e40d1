"""The reference itself, by small cases that were worked out by hand from docs/steps/."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.reference import columns as kinds
from tests.reference import sql, streams
from tests.reference.declared import Column, Feature
from tests.reference.engine import Reference, merged
from tests.reference.hashing import bit_of, hash52, hash64, signed
from tests.reference.record import Log, Record
from tests.reference.scoring import Snapshot, float32, vector

CONFIG = Path(__file__).parents[2] / "config"
T0 = streams.START_MS
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

FEATURES = """
lateness: 5m
idle_after: 60s
message_ids: 2
sources:
  - {topic: web.events, schema: web_event}
  - {topic: social.events, schema: social_event}
  - {topic: sales.events, schema: sales_event}
  - {topic: offer.outcomes, schema: outcome}
fields:
  category: {web.events: category}
  value: {web.events: value, offer.outcomes: value, min: -10, max: 1e9}
  amount: {sales.events: amount}
  quantity: {sales.events: "lines[].quantity", reduce: sum, max: 100}
  newest: {sales.events: "lines[].quantity", reduce: last}
  lines: {sales.events: "lines[]", reduce: count}
  categories: {sales.events: "lines[].category", reduce: bits}
  offer: {offer.outcomes: offer}
  offer_type: {offer.outcomes: type}
columns:
  pages: {kind: decayed, on: [page], half_life: [1h]}
  worth: {kind: decayed, on: [page, view], field: value, half_life: 1d}
  visits: {kind: count, on: [page, view]}
  spend: {kind: sum, on: [order], field: amount}
  largest: {kind: maximum, on: [order], field: amount}
  smallest: {kind: minimum, on: [order], field: amount}
  last_order: {kind: latest, on: [order]}
  first_order: {kind: first, on: [order]}
  price: {kind: value, on: [view], field: value}
  order_gap: {kind: gap, on: [order]}
  sessions: {kind: session, on: [page, view], gap: 30m}
  seen: {kind: distinct, on: [view], field: category}
  bought: {kind: distinct, on: [order], field: categories}
  values: {kind: ring, on: [view], field: value, size: 2}
  cart_open: {kind: flag, on: [cart_add], clear_on: [order]}
  silence: {kind: deadline, on: [order], after: 2d, clear_on: [return]}
  quiet: {kind: deadline, on: [page], after: 1d}
"""
MODELS = """
features:
  - {view: visits, transform: identity}
  - {view: last_order, missing: 7, transform: identity}
models:
  again: {open: [order], proof: [order], within: 1d, positive: proof}
  gone: {open: [order], proof: [order, return], within: 2d, positive: deadline}
"""
# every kind of label, and every condition on what opens and proves
LABELS = (
    MODELS
    + """\
  worth_2d: {open: [order], proof: [order], within: 2d, amount: amount}
  response: {open: [sent], proof: [redeemed], same: offer, within: 3d, positive: proof}
  shoes: {open: [sent], if: event.offer_type = 'shoes', proof: [redeemed], same: offer, within: 3d, positive: proof}
  basket: {open: [view], if: visits > 1 AND NOT (event.value < 0), proof: [cart_add], same: category, within: 1d,
    positive: proof}
  lead: {open: [page, view], if: last_order IS NULL, proof: [order], within: 5d, amount: quantity}
  voucher: {open: [sent], proof: [redeemed], same: offer, within: 4d, amount: value}
"""
)
NO_POLICIES = "policies: {}"
DUE_POLICY = (
    "policies: {due: {kind: offer, on: [deadline.silence, deadline.quiet], when: 1 = 1, cooldown: 1h}}"
)
SNAPSHOTS = {"again": Snapshot(5, -1.0, [1.0, 0.0]), "gone": Snapshot(6, 0.0, [0.0, 0.0])}


class Story:
    """A reference that is told one event after the other, each as all that waits."""

    def __init__(self, policies: str = NO_POLICIES, features: str = FEATURES, models: str = MODELS) -> None:
        self.reference = Reference(features, models, policies, streams.SCHEMAS, SNAPSHOTS, layout=9)
        self.offsets = dict.fromkeys(streams.TOPICS, -1)

    def record(self, kind: str, time: int, who: str = "ann", message_id: str = "", **fields: Any) -> Record:
        topic = next(topic for topic, known in streams.KINDS.items() if kind in known)
        self.offsets[topic] += 1
        offset = self.offsets[topic]
        message_id = message_id or f"{topic} {offset}"
        event: dict[str, Any] = {"message_id": message_id, "time": time, "kind": kind, **fields}
        if topic == "sales.events":
            event = {"order_id": "1", "amount": 1.0, "lines": [], **event}
        if topic == "offer.outcomes":
            event = {"id": event.pop("message_id"), "customer": who, "offer": "o", **event}
        version = 2 if topic == "offer.outcomes" else 1
        return Record(topic, 0, offset, who.encode(), streams.framed(topic, event, version), time)

    def tell(self, kind: str, time: int, who: str = "ann", message_id: str = "", **fields: Any) -> Record:
        record = self.record(kind, time, who, message_id, **fields)
        self.reference.feed([record])
        return record

    def words(self, who: str = "ann") -> Mapping[str, Any]:
        return self.reference.dump()[0, who.encode()]

    def views(self, now: int, who: str = "ann") -> Mapping[str, float]:
        return self.reference.views(self.reference.partitions[0].rows[who.encode()], now)

    def fired(self) -> list[str]:
        return [decision["id"] for decision in self.reference.decisions]

    def closed(self) -> list[tuple[str, int, int]]:
        return [(e["model"], e["label"], e["label_time"] - T0) for e in self.reference.examples]


def shipped() -> Reference:
    features, models, policies = (CONFIG / f"{name}.yaml" for name in ("features", "models", "policies"))
    return Reference(features, models, policies, streams.SCHEMAS)


def line(quantity: float, category: str | None = None) -> dict[str, Any]:
    return {"product": "p", "category": category, "quantity": quantity, "amount": 1.0, "discount": 0.0}


# --- hashing


def test_the_hash_of_nothing_and_of_one_word() -> None:
    def finish(h: int) -> int:
        h = h * 0xC4CEB9FE1A85EC53 % 2**64
        return h ^ h >> 29

    assert hash64(b"") == finish(0x9E3779B97F4A7C15)
    h = 0x9E3779B97F4A7C15 ^ (3 * 0xC2B2AE3D27D4EB4F) % 2**64
    h = (h ^ 0x636261) * 0xFF51AFD7ED558CCD % 2**64
    assert hash64(b"abc") == finish(h ^ h >> 32)
    assert hash64(b"abc") != hash64(b"abc\0")  # the length counts, so padding does not collide


def test_hashes_keep_their_width() -> None:
    assert hash52("abc") == hash64(b"abc") % 2**52
    assert signed(2**63) == -(2**63)
    assert signed(5) == 5
    assert bit_of(65.0) == 2
    assert bit_of(-1.0) == 1 << 63


# --- columns


def test_decayed_halves_at_its_half_life_also_between_events() -> None:
    story = Story()
    story.tell("page", T0, value=4.0)
    story.tell("page", T0 + HOUR)
    assert story.words()["pages_1h.x"] == pytest.approx(1.5)
    assert story.words()["worth.x"] == pytest.approx(4 * 2 ** (-1 / 24))  # no value: not touched, but decayed
    assert story.views(T0 + 2 * HOUR)["pages_1h"] == pytest.approx(0.75)


def test_a_late_event_adds_what_is_left_of_it_and_never_turns_the_clock_back() -> None:
    story = Story()
    story.tell("page", T0)
    story.tell("page", T0 - HOUR)
    assert story.words()["clock"] == T0
    assert story.words()["pages_1h.x"] == pytest.approx(1.5)


def test_another_kind_decays_the_row() -> None:
    story = Story()
    story.tell("page", T0)
    story.tell("other", T0 + HOUR)
    assert story.words()["clock"] == T0 + HOUR
    assert story.words()["pages_1h.x"] == pytest.approx(0.5)


def test_count_sum_maximum_minimum() -> None:
    story = Story()
    assert math.isnan(kinds.new_words(Column("m", "maximum", frozenset()))["x"])
    for index, amount in enumerate((3.0, math.nan, -1.0)):
        story.tell("order", T0 + index, amount=amount)
    story.tell("page", T0 + 9)
    words = story.words()
    assert (words["visits.x"], words["spend.x"]) == (1, 2.0)
    assert (words["largest.x"], words["smallest.x"]) == (3.0, -1.0)


def test_latest_and_first_are_hours_and_unknown_before_the_first_event() -> None:
    story = Story()
    story.tell("page", T0)
    assert math.isnan(story.views(T0)["last_order"])
    assert math.isnan(story.views(T0)["first_order"])
    story.tell("order", T0 + HOUR)
    story.tell("order", T0 - HOUR)  # late: the first one now, not the latest
    views = story.views(T0 + 3 * HOUR)
    assert (views["last_order"], views["first_order"]) == (2.0, 4.0)


def test_value_is_the_newest_by_time_and_on_equal_times_the_last() -> None:
    story = Story()
    story.tell("view", T0, value=1.0)
    story.tell("view", T0, value=2.0)
    story.tell("view", T0 - 1, value=3.0)
    story.tell("view", T0 + 1)
    assert (story.words()["price.v"], story.words()["price.t"]) == (2.0, T0)


def test_gap_has_mean_spread_and_latest() -> None:
    story = Story()
    story.tell("order", T0)
    assert all(
        math.isnan(story.views(T0)[name]) for name in ("order_gap", "order_gap.spread", "order_gap.last")
    )
    story.tell("order", T0 + 2 * HOUR)
    story.tell("order", T0 + 2 * HOUR)  # no time has passed: no gap
    story.tell("order", T0 + HOUR)  # late: no gap
    story.tell("order", T0 + 6 * HOUR)
    views = story.views(T0 + 6 * HOUR)
    assert views["order_gap"] == pytest.approx(3.0)
    assert views["order_gap.spread"] == pytest.approx(1.0)
    assert views["order_gap.last"] == pytest.approx(4.0)
    assert story.words()["order_gap.n"] == 2


def test_a_session_ends_after_more_than_its_gap_and_late_events_only_count() -> None:
    story = Story()
    story.tell("page", T0)
    story.tell("page", T0 + 30 * MINUTE)
    story.tell("page", T0 - 3 * HOUR)
    views = story.views(T0)
    assert (views["sessions"], views["sessions.events"], views["sessions.minutes"]) == (1, 3, 30)
    story.tell("view", T0 + 60 * MINUTE + 1)
    views = story.views(T0)
    assert (views["sessions"], views["sessions.events"], views["sessions.minutes"]) == (2, 1, 0)


def test_a_first_page_that_is_late_counts_an_event_without_a_session() -> None:
    story = Story()
    story.tell("order", T0)
    story.tell("page", T0 - 1)
    assert story.words()["sessions.sessions"] == 0
    assert story.words()["sessions.events"] == 1


def test_distinct_counts_bits() -> None:
    story = Story()
    for category in ("shoes", "shoes", "hats", None):
        story.tell("view", T0, category=category)
    story.tell("order", T0, lines=[line(1, "shoes"), line(1), line(1, "hats")])
    both = bit_of(hash52("shoes")) | bit_of(hash52("hats"))
    assert story.words()["seen.bitmap"] == story.words()["bought.bitmap"] == both
    assert story.views(T0)["seen"] == both.bit_count()


def test_ring_keeps_the_newest_and_views_their_mean() -> None:
    story = Story()
    story.tell("page", T0)
    assert math.isnan(story.views(T0)["values"])
    story.tell("view", T0, value=1.0)
    assert story.views(T0)["values"] == 1.0
    for value in (5.0, None, 9.0):
        story.tell("view", T0, value=value)
    assert [story.words()[f"values.{word}"] for word in ("n", "values[0]", "values[1]")] == [3, 9.0, 5.0]
    assert story.views(T0)["values"] == 7.0


def test_flag_is_set_and_cleared() -> None:
    story = Story()
    story.tell("cart_add", T0)
    assert story.views(T0)["cart_open"] == 1
    story.tell("order", T0)
    assert story.views(T0)["cart_open"] == 0


def test_a_deadline_column_is_moved_and_cleared_but_not_set_by_a_late_event() -> None:
    story = Story()
    story.tell("order", T0)
    assert story.views(T0 + HOUR)["silence"] == 47.0
    story.tell("order", T0 + HOUR)
    story.tell("order", T0)
    assert story.words()["silence.due"] == T0 + HOUR + 2 * DAY
    story.tell("return", T0)  # late, and clears all the same
    assert story.words()["silence.due"] == 0
    assert math.isnan(story.views(T0)["silence"])


# --- decoding


def test_reducers_over_lines() -> None:
    story = Story("policies: {all: {kind: alert, on: [order], when: 1 = 1}}")
    story.tell("order", T0, lines=[line(2.0, "shoes"), line(0.5)])
    story.tell("order", T0, lines=[])
    full, empty = (decision["receipt"]["fields"] for decision in story.reference.decisions)
    assert math.isnan(full[0])  # category: not a field of sales events
    assert full[3:6] == [2.5, 0.5, 2.0]
    assert full[6] == float(bit_of(hash52("shoes")))
    assert (empty[3], empty[5], empty[6]) == (0.0, 0.0, 0.0)
    assert math.isnan(empty[4])


def test_both_versions_of_an_event_are_read_side_by_side() -> None:
    story = Story()
    for version, kind in ((1, "order"), (2, "order"), (2, "quote")):
        event = {"message_id": f"{version}{kind}", "time": T0, "kind": kind, "order_id": "1", "amount": 2.0}
        extra = {"currency": "EUR", "store": "x"} if version == 2 else {}
        value = streams.framed("sales.events", {**event, "lines": [], **extra}, version)
        story.offsets["sales.events"] += 1
        story.reference.feed([Record("sales.events", 0, story.offsets["sales.events"], b"ann", value)])
    assert story.reference.dead_letters == []
    assert story.words()["spend.x"] == 4.0


@pytest.mark.parametrize("bad", streams.BAD)
@pytest.mark.parametrize("topic", streams.TOPICS)
def test_a_bad_record_is_a_dead_letter_and_its_neighbours_go_on(topic: str, bad: str) -> None:
    reasons = {
        "null key": "key",
        "empty key": "key",
        "null value": "value",
        "empty value": "framing",
        "short frame": "framing",
        "magic": "framing",
        "unknown schema": "schema",
        "schema of another topic": "schema",
        "time too early": "time",
        "time too late": "time",
        "below its bound": "bounds",
        "above its bound": "bounds",
        "infinite": "bounds",
        "not a number": "bounds",
        "key not UTF-8": "key",
        "key too long": "key",
        "key led by a zero byte": "key",
        "ahead of its append": "time",
    }
    reference = shipped()
    kind = streams.KINDS[topic][0]
    lines = (streams.Line(1.0, "shoes"),)
    steps = [streams.Step(topic, 1, kind, lines=lines, bad=spoilt) for spoilt in (None, bad, None)]
    reference.feed(streams.build(steps))
    letter = {"topic": topic, "partition": 0, "offset": 1, "reason": reasons.get(bad, "avro")}
    assert reference.dead_letters == [letter]
    (row,) = reference.dump().values()
    assert (row["ids.count"], row[f"applied.{topic}"]) == (2, 2)


def test_bounds_hold_for_reduced_fields_and_leave_unbounded_ones_alone() -> None:
    story = Story()
    story.tell("order", T0, amount=math.inf)
    story.tell("order", T0, lines=[line(60), line(60)])
    story.tell("page", T0, value=math.nan)
    story.tell("page", T0, value=-10.0)
    assert [(d["topic"], d["offset"], d["reason"]) for d in story.reference.dead_letters] == [
        ("sales.events", 1, "bounds"),
        ("web.events", 0, "bounds"),
    ]
    assert story.words()["spend.x"] == math.inf


# --- order, duplicates, replays


def test_topics_are_merged_by_time_then_topic_order_and_offset_order_is_kept() -> None:
    story = Story(
        "policies: {all: {kind: alert, on: [page, view, ticket, order], when: 1 = 1}}",
    )
    records = [
        story.record("order", T0 + 1),
        story.record("ticket", T0 + 1),
        story.record("page", T0 + 2),
        story.record("view", T0),  # behind the page: late
        story.record("page", T0 + 3),
    ]
    story.reference.feed(records)
    assert [fired.rsplit(":", 1)[0] for fired in story.fired()] == [
        "social.events:0:0",
        "sales.events:0:0",
        "web.events:0:0",
        "web.events:0:1",
        "web.events:0:2",
    ]


def test_a_repeated_message_changes_nothing_but_the_offset_while_it_is_in_the_ring() -> None:
    story = Story()
    story.tell("page", T0, message_id="a")
    story.tell("page", T0 + HOUR, message_id="a")
    words = story.words()
    assert (words["visits.x"], words["clock"], words["applied.web.events"], words["ids.count"]) == (
        1,
        T0,
        1,
        1,
    )
    story.tell("page", T0, message_id="b")
    story.tell("page", T0, message_id="c")  # two are kept: "a" is forgotten
    story.tell("page", T0, message_id="a")
    assert story.words()["visits.x"] == 4


def test_a_repeated_message_raises_the_watermark() -> None:
    story = Story()
    story.tell("page", T0, message_id="a")
    story.tell("page", T0 + DAY + 5 * MINUTE, message_id="a")
    assert story.words()["quiet.due"] == 0


def test_records_that_are_replayed_change_nothing() -> None:
    log = streams.random_log(7, 300)
    reference = Reference(FEATURES, MODELS, NO_POLICIES, streams.SCHEMAS, SNAPSHOTS)
    reference.feed(log)
    before = reference.dump()
    outputs = len(reference.outputs)
    reference.feed(log)
    assert reference.dump() == before
    assert len(reference.outputs) == outputs


@settings(max_examples=50, deadline=None)
@given(streams.logs(partitions=2))
def test_one_by_one_in_merged_order_is_the_same_as_all_at_once(log: Log) -> None:
    once, slowly = (Reference(FEATURES, MODELS, DUE_POLICY, streams.SCHEMAS, SNAPSHOTS) for _ in range(2))
    once.feed(log)
    for number in range(2):
        queues = [slowly.decoded(log[topic, number], topic, number) for topic in streams.TOPICS]
        for event in merged(queues):
            slowly.feed([r for r in log[event.topic, number] if r.offset == event.offset])
    assert repr(slowly.dump()) == repr(once.dump())
    assert repr(slowly.outputs) == repr(once.outputs)


@settings(max_examples=50, deadline=None)
@given(streams.logs())
def test_nothing_that_is_due_stays_behind_and_ids_are_unique(log: Log) -> None:
    reference = Reference(FEATURES, MODELS, DUE_POLICY, streams.SCHEMAS, SNAPSHOTS)
    reference.feed(log)
    reference.advance(0, 0)  # what the last event set may be due already
    for row in reference.dump().values():
        dues = [value for word, value in row.items() if word.endswith(".due") and value]
        assert all(due > (reference.partitions[0].watermark or 0) for due in dues)
    ids = [output.fields["id"] for output in reference.outputs]
    assert len(ids) == len(set(ids))


# --- deadlines and examples


def test_deadlines_fire_before_the_event_that_is_late_enough_and_not_a_millisecond_sooner() -> None:
    story = Story("policies: {due: {kind: alert, on: [deadline.quiet], when: visits = 1}}")
    story.tell("page", T0)
    story.tell("page", T0 + DAY + 5 * MINUTE - 1, "bob")
    assert story.fired() == []
    story.tell("page", T0 + DAY + 5 * MINUTE)  # ann's own page: the deadline fires first and sees one visit
    assert story.fired() == [f"ann:quiet:{T0 + DAY}:due"]
    (decision,) = story.reference.decisions
    assert (decision["time"], decision["cause"]) == (T0 + DAY, "deadline.quiet")
    assert (decision["topic"], decision["offset"]) == ("", -1)
    assert all(math.isnan(value) for value in decision["receipt"]["fields"])
    assert story.words()["quiet.due"] == T0 + 2 * DAY + 5 * MINUTE


def test_due_deadlines_fire_by_due_then_hash_of_key_then_layout() -> None:
    story = Story(DUE_POLICY.replace("cooldown: 1h", "cooldown: 1ms"))
    story.tell("page", T0 + DAY, "cid")
    names = ["ann", "bob", "dora", "emil"]
    for name in names:
        story.tell("order", T0 + DAY, name)
        story.tell("page", T0 + 2 * DAY, name)
    story.reference.advance(0, T0 + 9 * DAY)
    by_hash = sorted(names, key=lambda name: hash64(name.encode()))
    ids = [decision["id"].rsplit(":", 2)[0] for decision in story.reference.decisions]
    # quiet and silence are due together, silence stands first in the layout; quiet is in its cooldown then
    assert ids == ["cid:quiet", *(f"{name}:silence" for name in by_hash)]
    examples = [(e["due"], e["customer"], e["model"]) for e in story.reference.examples]
    assert examples == [(T0 + 2 * DAY, name, "again") for name in by_hash] + [
        (T0 + 3 * DAY, name, "gone") for name in by_hash
    ]


def test_a_deadline_sees_decayed_views_at_its_time_and_leaves_the_row_as_it_stood() -> None:
    story = Story("policies: {due: {kind: alert, on: [deadline.quiet], when: worth < 1.1}}")
    story.tell("page", T0, value=2.0)
    story.reference.advance(0, T0 + 5 * DAY)
    (decision,) = story.reference.decisions
    values = dict(zip(story.reference.view_names, decision["receipt"]["values"], strict=True))
    assert values["worth"] == pytest.approx(1.0)
    assert math.isnan(values["quiet"])  # cleared before the policies look
    assert story.words()["worth.x"] == 2.0
    assert story.words()["clock"] == T0


def test_a_deadline_is_never_in_the_past_of_its_row() -> None:
    story = Story("policies: {due: {kind: alert, on: [deadline.quiet], when: 1 = 1}}")
    story.tell("page", T0)
    story.tell("ticket", T0 + DAY + MINUTE)  # within the lateness: the watermark is not there yet
    story.reference.advance(0, T0 + DAY)
    (decision,) = story.reference.decisions
    assert (decision["id"], decision["time"]) == (f"ann:quiet:{T0 + DAY}:due", T0 + DAY + MINUTE)


def test_the_watermark_never_falls() -> None:
    story = Story()
    story.tell("page", T0)
    story.reference.advance(0, T0 + HOUR)
    story.tell("page", T0 + 1)
    assert story.reference.partitions[0].watermark == T0 + HOUR


def test_a_proof_in_time_closes_with_its_label_and_opens_anew() -> None:
    story = Story()
    story.tell("page", T0)
    story.tell("order", T0)
    story.tell("order", T0 + DAY)
    assert story.closed() == [("again", 1, DAY), ("gone", 0, DAY)]
    first = story.reference.examples[0]
    assert first["id"] == f"ann:again:{T0}"
    assert (first["opened"], first["due"], first["snapshot"]) == (T0, T0 + DAY, 5)
    assert first["features"] == [1.0, 0.0]  # folded: the order is its own latest one
    assert first["score"] == pytest.approx(0.5)
    assert story.words()["model.again.opened"] == T0 + DAY


def test_a_proof_after_due_but_before_the_watermark_closes_with_the_deadlines_label() -> None:
    story = Story()
    story.tell("order", T0)
    story.tell("order", T0 + DAY + 1)
    assert story.closed() == [("again", 0, DAY), ("gone", 0, DAY + 1)]
    assert story.words()["model.again.opened"] == T0 + DAY + 1


def test_nothing_is_opened_and_no_deadline_set_that_is_due_already() -> None:
    story = Story()
    story.tell("page", T0 + 2 * DAY + 5 * MINUTE - 1, "bob")
    story.tell("order", T0)  # not late for ann, long past for the partition
    assert story.closed() == []
    words = story.words()
    assert (words["model.again.opened"], words["model.gone.opened"]) == (0, T0)
    assert words["silence.due"] == T0 + 2 * DAY
    story.tell("page", T0, "cid")
    assert story.words("cid")["quiet.due"] == 0


def test_an_example_keeps_the_version_that_scored_it() -> None:
    story = Story()
    story.tell("order", T0)
    story.reference.snapshots["again"] = Snapshot(9, 0.0, [0.0, 0.0])
    story.tell("order", T0 + 1)
    assert story.reference.examples[0]["snapshot"] == 5
    assert story.words()["model.again.snapshot"] == 9


def test_what_is_left_of_a_decayed_value_is_nothing_in_the_end() -> None:
    story = Story()
    story.tell("page", T0)
    story.tell("other", T0 + 99 * HOUR)
    assert 0 < story.words()["pages_1h.x"] < 2e-30
    story.tell("other", T0 + 100 * HOUR)
    assert story.words()["pages_1h.x"] == 0


def test_silence_closes_with_the_deadlines_label() -> None:
    story = Story()
    story.tell("order", T0)
    story.tell("page", T0 + 3 * DAY, "bob")
    assert story.closed() == [("again", 0, DAY), ("gone", 1, 2 * DAY)]
    assert story.words()["model.again.opened"] == story.words()["model.gone.due"] == 0


def test_an_example_is_not_its_own_proof_and_not_opened_late_or_twice() -> None:
    story = Story()
    story.tell("page", T0)
    story.tell("order", T0 - 1)
    assert story.words()["model.again.opened"] == 0
    story.tell("order", T0)
    story.tell("order", T0)
    assert story.words()["model.again.opened"] == T0
    assert story.closed() == []


def test_a_late_proof_counts_when_it_came_after_the_opening() -> None:
    story = Story()
    story.tell("order", T0)
    story.tell("page", T0 + HOUR)
    story.tell("order", T0 + MINUTE)
    assert story.closed() == [("again", 1, MINUTE), ("gone", 0, MINUTE)]
    assert story.words()["model.again.opened"] == 0  # late: it proves, but opens nothing


# --- other labels


def labelled(policies: str = NO_POLICIES) -> Story:
    return Story(policies, models=LABELS)


def told(story: Story, model: str) -> list[tuple[int, float | None, int, int]]:
    """Label, amount, when it was opened and when the label was known, after T0."""
    return [
        (e["label"], e["amount"], e["opened"] - T0, e["label_time"] - T0)
        for e in story.reference.examples
        if e["model"] == model
    ]


def test_an_amount_is_the_sum_of_all_proofs_until_the_deadline_and_no_more() -> None:
    story = labelled()
    story.tell("order", T0, amount=100.0)  # it opens, and is no proof of itself
    story.tell("order", T0 + HOUR, amount=2.0)
    story.tell("order", T0 + 2 * DAY, amount=3.0)  # the last moment
    story.tell("order", T0 + 2 * DAY + 1, amount=50.0)
    assert told(story, "worth_2d") == []
    assert story.words()["model.worth_2d.sum"] == 5.0
    story.tell("order", T0 + DAY, amount=4.0)  # late, and in time
    story.reference.advance(0, T0 + 2 * DAY)
    assert told(story, "worth_2d") == [(0, 9.0, 0, 2 * DAY)]
    assert story.words()["model.worth_2d.opened"] == 0


def test_an_amount_of_which_nothing_came_is_zero_and_what_is_absent_is_nothing() -> None:
    story = labelled()
    story.tell("page", T0)
    story.tell("order", T0 + 1, lines=[])
    story.reference.advance(0, T0 + 9 * DAY)
    assert told(story, "worth_2d") == [(0, 0.0, 1, 2 * DAY + 1)]
    assert told(story, "lead") == [(0, 0.0, 0, 5 * DAY)]
    story = labelled()
    story.tell("sent", T0, offer="a")
    for value in (None, 2.5, None):
        story.tell("redeemed", T0 + 1, offer="a", value=value)
    story.reference.advance(0, T0 + 9 * DAY)
    assert told(story, "voucher") == [(0, 2.5, 0, 4 * DAY)]


def test_only_the_same_offer_proves_that_it_was_taken() -> None:
    story = labelled()
    story.tell("sent", T0, offer="a")
    story.tell("sent", T0 + 1, offer="b")  # one is open
    story.tell("redeemed", T0 + 2, offer="b")
    assert told(story, "response") == []
    story.tell("redeemed", T0 + 3, offer="a")
    assert told(story, "response") == [(1, None, 0, 3)]


def test_an_event_without_what_has_to_be_the_same_opens_nothing() -> None:
    story = labelled()
    story.tell("view", T0, value=0.0)
    story.tell("view", T0 + 1, value=0.0)
    assert story.words()["model.basket.opened"] == 0
    story.tell("view", T0 + 2, category="hats", value=0.0)
    assert story.words()["model.basket.opened"] == T0 + 2
    story.tell("cart_add", T0 + 3)
    assert told(story, "basket") == []
    story.tell("cart_add", T0 + 4, category="hats")
    assert told(story, "basket") == [(1, None, 2, 4)]


def test_what_opens_can_be_asked_of_the_event_and_of_the_row_with_it() -> None:
    story = labelled()
    story.tell("sent", T0, offer="a", type="hats")
    story.tell("sent", T0 + 1, offer="b", type="shoes")
    assert story.words()["model.shoes.opened"] == T0 + 1
    story.tell("view", T0 + 2, category="hats", value=-1.0)
    assert story.words()["model.basket.opened"] == 0  # the first view
    story.tell("view", T0 + 3, category="hats", value=-1.0)
    assert story.words()["model.basket.opened"] == 0  # the value
    story.tell("view", T0 + 4, category="hats")  # no value: not known to be above, and not known to be below
    assert story.words()["model.basket.opened"] == 0
    story.tell("view", T0 + 5, category="hats", value=0.0)
    assert story.words()["model.basket.opened"] == T0 + 5


def test_who_ordered_is_no_lead_any_more() -> None:
    story = labelled()
    story.tell("page", T0)
    story.tell("order", T0 + 1, lines=[line(2.0)])
    story.reference.advance(0, T0 + 5 * DAY)
    story.tell("page", T0 + 6 * DAY)
    assert told(story, "lead") == [(0, 2.0, 0, 5 * DAY)]
    assert story.words()["model.lead.opened"] == 0


# --- features and scores


def test_features_by_each_transform() -> None:
    noon_tuesday = 5 * DAY + DAY // 2  # 1970-01-06
    every = [
        Feature("a", "log1p", 0.0),
        Feature("b", "log1p", 0.0),
        Feature("c", "log1p", 3.0),
        Feature("b", "identity", 0.0),
        *(Feature(None, name, 0.0) for name in ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")),
    ]
    seen = {"a": math.e - 1, "b": -2.0, "c": math.nan}
    expected = [1.0, 0.0, math.log(4), -2.0, 0.0, -1.0, math.sin(2 * math.pi / 7), math.cos(2 * math.pi / 7)]
    assert vector(every, seen, noon_tuesday) == pytest.approx(expected)


def test_float32() -> None:
    assert float32(0.1) == 0.10000000149011612
    assert float32(-1e300) == -math.inf


def test_no_snapshot_no_score() -> None:
    story = Story("policies: {all: {kind: alert, on: [order], when: again IS NULL}}")
    del story.reference.snapshots["again"]
    story.tell("order", T0)
    (decision,) = story.reference.decisions
    assert decision["receipt"]["snapshots"] == [0, 6]
    assert decision["receipt"]["scores"] == [pytest.approx(math.nan, nan_ok=True), 0.5]


# --- policies


def test_a_policy_with_an_exit_fires_on_entering_only() -> None:
    story = Story(
        "policies: {p: {kind: alert, on: [page, ticket], when: pages_1h > 1, exit: pages_1h < 0.5}}"
    )
    for minute in (0, 1, 2):
        story.tell("page", T0 + minute * MINUTE)
    assert story.fired() == ["web.events:0:1:p"]
    assert story.words()["policy.p.inside"] == 1
    story.tell("page", T0 + DAY)  # one page, 1.0: between exit and entry
    assert story.words()["policy.p.inside"] == 1
    story.tell("ticket", T0 + DAY + 2 * HOUR)
    assert story.words()["policy.p.inside"] == 0
    story.tell("page", T0 + DAY + 2 * HOUR)
    assert story.fired() == ["web.events:0:1:p", "web.events:0:4:p"]


def test_exit_is_checked_first_so_that_a_policy_may_leave_and_enter_at_once() -> None:
    story = Story("policies: {p: {kind: alert, on: [page], when: 1 = 1, exit: event.value > 0}}")
    story.tell("page", T0, value=0.0)
    story.tell("page", T0 + 1, value=1.0)
    assert story.fired() == ["web.events:0:0:p", "web.events:0:1:p"]


def test_cooldown_ends_to_the_millisecond_and_holds_inside_back() -> None:
    story = Story(
        "policies: {p: {kind: offer, on: [page], when: 1 = 1, cooldown: 1h, exit: event.value = 1}}"
    )
    story.tell("page", T0)
    story.tell("page", T0 + HOUR - 1, value=1.0)
    assert story.words()["policy.p.inside"] == 0
    story.tell("page", T0 + HOUR)
    assert story.fired() == ["web.events:0:0:p", "web.events:0:2:p"]
    assert story.words()["policy.p.last_fired"] == T0 + HOUR


def test_policies_fire_in_the_order_of_the_file_after_the_examples() -> None:
    story = Story(
        "policies: {z: {kind: alert, on: [order], when: 1 = 1}, a: {kind: offer, on: [order], when: 1 = 1}}"
    )
    story.tell("order", T0)
    story.tell("order", T0 + 1)
    labels = [fields.get("policy", fields.get("model")) for _, fields in story.reference.outputs]
    assert labels == ["z", "a", "again", "gone", "z", "a"]


def test_a_receipt_holds_all_that_was_seen() -> None:
    story = Story("policies: {p: {kind: offer, on: [view], when: event.category = 'shoes'}}")
    story.tell("view", T0, value=3.0, category="hats")
    story.tell("view", T0 + HOUR, value=5.0, category="shoes")
    (decision,) = story.reference.decisions
    receipt = decision.pop("receipt")
    assert decision == {
        "id": "web.events:0:1:p",
        "customer": "ann",
        "policy": "p",
        "kind": "offer",
        "time": T0 + HOUR,
        "cause": "view",
        "topic": "web.events",
        "partition": 0,
        "offset": 1,
    }
    assert (receipt["layout"], receipt["snapshots"]) == (9, [5, 6])
    assert receipt["scores"] == pytest.approx([1 / (1 + math.exp(-1)), 0.5])
    assert receipt["fields"][:2] == [hash52("shoes"), 5.0]
    values = dict(zip(story.reference.view_names, receipt["values"], strict=True))
    assert (values["visits"], values["values"], values["sessions"]) == (2, 4.0, 2)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("one = 1 AND null_one IS NULL", True),
        ("null_one = 1 OR one = 1", True),
        ("null_one = 1 OR one = 2", False),
        ("NOT (null_one = 1)", False),
        ("NOT (null_one = 1 AND one = 2)", True),
        ("null_one <> 1", False),
        ("null_one = null_one", False),
        ("null_one IS NOT NULL", False),
        ("one BETWEEN 1 AND 1", True),
        ("one NOT BETWEEN 2 AND null_one", True),
        ("one NOT BETWEEN 1 AND null_one", False),
        ("one IN (2, 1)", True),
        ("one NOT IN (2, null_one)", False),
        ("one / 0 IS NULL", True),
        ("one / 2 = 0.5", True),
        ("2 + one * 3 - -1 = 6", True),
        ("COALESCE(null_one, a.spread) = 4", True),
        ("CASE WHEN null_one > 1 THEN 0 WHEN one = 1 THEN 7 END = 7", True),
        ("CASE one WHEN 2 THEN 0 END IS NULL", True),
        ("NULLIF(one, 1) IS NULL", True),
        ("ABS(-one) = 1", True),
        ("event.word = 'shoes'", True),
        ("one", True),
        ("null_one", False),
    ],
)
def test_conditions_have_three_values(condition: str, expected: bool) -> None:
    known = {"one": 1.0, "null_one": math.nan, "a.spread": 4.0, "event.word": hash52("shoes")}
    assert sql.is_true(sql.parse(condition), known) is expected


# --- declarations


def test_every_element_of_a_list_of_half_lives_gets_a_suffix() -> None:
    names = Story().reference.view_names
    assert "pages_1h" in names
    assert "worth" in names


def test_a_name_that_nothing_declares_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"policy p: event\.colour"):
        Story("policies: {p: {kind: alert, on: [page], when: event.colour > 1}}")


def test_the_shipped_declarations_agree_and_a_random_log_runs_through() -> None:
    reference = shipped()
    reference.feed(streams.random_log(1, 500))
    assert len(reference.view_names) >= 48
    assert reference.examples
    assert reference.decisions
    assert reference.dead_letters
