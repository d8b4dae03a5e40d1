"""The kernels and the slow reference agree: on rows, on outputs and on dead letters, whatever comes."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.open_source import source
from pipeline.config import load_config
from streams.avro.decoder import REASONS
from streams.batches.record_batch import HEADER
from tests.doubles import Rig, weights
from tests.doubles.rig import FILES, declared, shuffled
from tests.promises.test_reference import FEATURES, LABELS
from tests.reference import streams
from tests.reference.batches import CODECS
from tests.reference.declared import declare
from tests.reference.engine import Reference
from tests.reference.hashing import hash64
from tests.reference.record import Log, Record
from tests.reference.scoring import Snapshot

REASON_OF = dict(
    zip(
        REASONS,
        ("", "key", "value", "framing", "schema", "avro", "bounds", "time", "key"),
        strict=True,
    )
)
TOPIC_OF = {"alert": "alerts", "offer": "offers"}
MONTH_MS = 31 * streams.DAY


class Twins:
    """One rig and one reference, fed the same batches. `files`: another config than the shipped one."""

    def __init__(
        self, snapshots: Mapping[str, Snapshot] | None = None, files: tuple[Path, Path, Path] | None = None
    ) -> None:
        self.snapshots = weights(1) if snapshots is None else snapshots
        config = load_config(files[0].parent) if files else None
        columns = declare(*files).columns if files else declared().columns
        self.decayed = {column.name for column in columns if column.kind == "decayed"}
        self.rig = Rig(self.snapshots, config=config, columns=columns)
        layout = self.rig.work.layout.layout_id
        self.reference = Reference(*(files or FILES), streams.SCHEMAS, self.snapshots, layout)

    def feed(self, log: Log, batches: Mapping[tuple[str, int], list[bytes]], seed: int = 0) -> None:
        self.rig.feed(batches, order=shuffled(seed))
        self.reference.feed(as_appended(log, batches))

    def advance(self, watermark_ms: int) -> None:
        """An idle source's watermark follows the wall clock."""
        for number in list(self.rig.engine.partitions):
            time_ms = watermark_ms + self.rig.config.features.lateness_ms
            self.rig.engine.raise_watermark(self.rig.engine.partitions[number], time_ms)
            self.reference.advance(number, watermark_ms)

    def agree(self, largest: float = 1e3) -> None:
        """Compare everything; `largest` is the largest number that came."""
        near = Near(1e-12 * max(1.0, largest), self.decayed)
        near.rows(self.rig.dump(), self.reference.dump())
        near.outputs(self.rig.decoded(), self.expected_outputs())
        assert self.dead_letters() == sorted(
            (d["topic"], d["partition"], d["offset"], d["reason"]) for d in self.reference.dead_letters
        )

    def expected_outputs(self) -> dict[tuple[str, int], list[dict[str, Any]]]:
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for number, partition in self.reference.partitions.items():
            for output in partition.outputs:
                topic = TOPIC_OF.get(str(output.fields.get("kind")), "training.examples")
                found.setdefault((topic, number), []).append(output.fields)
        return found

    def dead_letters(self) -> list[tuple[str, int, int, str]]:
        return sorted(
            (d["topic"], d["partition"], d["offset"], REASON_OF[d["reason"]]) for d in self.rig.dead_letters()
        )


def as_appended(log: Log, batches: Mapping[tuple[str, int], list[bytes]]) -> Log:
    """The records with the append time that is known of them: the highest timestamp of their batch."""
    found: Log = {}
    for place, records in log.items():
        spans = [HEADER.unpack_from(raw) for raw in batches.get(place, [])]
        ends = [span[0] + span[6] for span in spans]
        found[place] = [r._replace(timestamp=spans[bisect_left(ends, r.offset)][8]) for r in records]
    return found


class Near:
    """Equal to the bit for all that is counted; within 1e-9 for what decays or is scored."""

    def __init__(self, absolute: float, decayed: Set[str]) -> None:
        self.absolute, self.decayed = absolute, decayed

    def number(self, a: float, b: float) -> bool:
        return (
            a == b
            or (math.isnan(a) and math.isnan(b))
            or math.isclose(a, b, rel_tol=1e-9, abs_tol=self.absolute)
        )

    def single(self, a: float, b: float) -> bool:
        """Two float32: a last digit in float64 may be the last digit of a float32."""
        return self.number(a, b) or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)

    def value(self, name: str, a: Any, b: Any) -> bool:
        if name == "features":
            return len(a) == len(b) and all(map(self.single, a, b))
        if isinstance(b, Mapping):
            return a.keys() == b.keys() and all(self.value(key, a[key], b[key]) for key in b)
        if isinstance(b, list | tuple):
            return len(a) == len(b) and all(map(self.number, a, b))
        return a == b if not isinstance(b, float) else self.number(a, b)

    def rows(self, found: Mapping[Any, dict[str, Any]], expected: Mapping[Any, dict[str, Any]]) -> None:
        assert found.keys() == expected.keys()
        wrong = {}
        for place, words in expected.items():
            assert found[place].keys() == words.keys()
            for name, value in words.items():
                if not self.word(name, found[place], value):
                    wrong[place, name] = found[place][name], value
        assert not wrong

    def word(self, name: str, row: Mapping[str, Any], expected: Any) -> bool:
        column, _, word = name.rpartition(".")
        if word in ("score", "features"):
            return self.value(word, row[name], expected)
        if column in self.decayed:
            return self.number(row[name], expected)
        both_nan = expected != expected and row[name] != row[name]
        return bool(row[name] == expected or both_nan)

    def outputs(self, found: Mapping[Any, list[Any]], expected: Mapping[Any, list[Any]]) -> None:
        assert {place: [one["id"] for one in sent] for place, sent in found.items()} == {
            place: [one["id"] for one in sent] for place, sent in expected.items()
        }
        for place, sent in expected.items():
            for ours, theirs in zip(found[place], sent, strict=True):
                wrong = {k: (ours[k], v) for k, v in theirs.items() if not self.value(k, ours[k], v)}
                assert not wrong, theirs["id"]


def largest(log: Log) -> float:
    """Amounts come up to the bounds of their fields in drawn logs."""
    return 1e9 if any(log.values()) else 1.0


@pytest.mark.parametrize("seed", range(6))
def test_random_streams(seed: int) -> None:
    log = streams.random_log(seed, 3000, bad=0.05, repeated=0.05, late=0.1)
    twins = Twins(weights(seed))
    twins.feed(log, streams.random_batches(log, seed), seed)
    twins.agree()
    assert twins.rig.outputs.of("training.examples")
    assert twins.rig.outputs.of("alerts")
    assert twins.rig.outputs.of("offers")
    assert twins.rig.dead_letters()


def test_many_customers_and_a_few_hot_ones() -> None:
    log = streams.random_log(11, 6000, customers=1500, partitions=1, mean_advance_ms=20_000, jump=0.003)
    twins = Twins()
    twins.feed(log, streams.random_batches(log, 11))
    twins.agree()


def test_without_snapshots() -> None:
    log = streams.random_log(12, 1500)
    twins = Twins({})
    twins.feed(log, streams.random_batches(log, 12))
    twins.agree()


@pytest.mark.parametrize("seed", range(3))
def test_fed_in_stages_with_idle_times_between(seed: int) -> None:
    """What waits is merged stage by stage; an idle source's watermark follows the wall clock."""
    draw = random.Random(seed)
    log = streams.random_log(20 + seed, 2000, bad=0.03, partitions=1)
    twins = Twins()
    taken = dict.fromkeys(log, 0)
    while any(taken[place] < len(records) for place, records in log.items()):
        stage: Log = {}
        for place, records in log.items():
            count = draw.choice((0, 0, 1, 3, 100))
            stage[place] = records[taken[place] : taken[place] + count]
            taken[place] += count
        batches = {
            place: streams.cut(records, [7, 3], ["lz4"]) for place, records in stage.items() if records
        }
        twins.feed(stage, batches, seed)
        if draw.random() < 0.2 and twins.rig.engine.partitions:
            highest = twins.rig.engine.partitions[0].clocks[1]
            if highest > 0:
                twins.advance(int(highest + draw.choice((0, streams.HOUR, 20 * streams.DAY))))
    twins.agree()


def test_a_record_that_comes_twice_changes_nothing() -> None:
    log = streams.random_log(30, 800, partitions=1)
    twins = Twins()
    twins.feed(log, streams.random_batches(log, 30))
    before, sent = twins.rig.row_bytes(), len(twins.rig.outputs.sent)
    for topic, number in log:
        twins.rig.engine.partitions[number].positions[twins.rig.topics.index(topic)] = 0
    twins.rig.feed({p: streams.cut(records, [50], ["zstd"]) for p, records in log.items()})
    assert twins.rig.row_bytes() == before
    assert {s.topic for s in twins.rig.outputs.sent[sent:]} <= {"dead-letters"}


FAST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@FAST
@given(st.data(), streams.logs(partitions=2), st.integers(0, 99))
def test_drawn_streams_in_drawn_batches(data: st.DataObject, log: Log, seed: int) -> None:
    twins = Twins(weights(seed))
    twins.feed(log, data.draw(streams.cuts(log)), seed)
    twins.agree(largest(log))
    twins.advance(streams.START_MS + 400 * streams.DAY)
    twins.agree(largest(log))


# -- another config: every kind of column in its plainest form


def every_kind(folder: Path, policies: str) -> tuple[Path, Path, Path]:
    features = "".join(line for line in FEATURES.splitlines(True) if not line.startswith("  newest:"))
    parts = {"features": features, "models": LABELS, "policies": policies}
    for name, text in parts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / "features.yaml", folder / "models.yaml", folder / "policies.yaml"


POLICIES = """
policies:
  entering: {kind: alert, on: [page, view], when: pages_1h > 2 AND again > 0.2, exit: pages_1h < 0.5,
    cooldown: 1m, message: m}
  due: {kind: offer, on: [deadline.silence, deadline.quiet], when: visits >= 1 OR gone IS NULL,
    cooldown: 2h, message: m}
  bits: {kind: alert, on: [order], when: 'event.categories > 4294967296 AND LEAST(event.amount, last_order) >= 0',
    cooldown: 1h, message: m}
  greatest: {kind: offer, on: [order], when: "GREATEST(event.lines, values) > 1", cooldown: 1d, message: m}
  words: {kind: alert, on: [view], when: event.category = 'shoes' AND worth > 1,
    cooldown: 1m, message: m}
"""


@pytest.mark.parametrize("seed", range(4))
def test_every_kind_of_column(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    snapshots = {
        name: Snapshot(version, draw.uniform(-1, 1), [0.05, -0.1])
        for version, name in ((5, "again"), (6, "gone"))
    }
    twins = Twins(snapshots, every_kind(tmp_path, POLICIES))
    log = streams.random_log(60 + seed, 2500, bad=0.05, repeated=0.1, late=0.15, jump=0.01)
    twins.feed(log, streams.random_batches(log, seed), seed)
    twins.agree()
    fired = {decision["policy"] for decision in twins.reference.decisions}
    assert fired == {"entering", "due", "bits", "greatest", "words"}


@pytest.mark.parametrize("seed", range(4))
def test_every_kind_of_label(seed: int, tmp_path: Path) -> None:
    twins = Twins({}, every_kind(tmp_path, POLICIES))
    log = streams.random_log(
        70 + seed,
        2500,
        customers=8,
        shares=(2, 0, 2, 5),
        late=0.15,
        jump=0.01,
        mean_advance_ms=20 * streams.MINUTE,
    )
    twins.feed(log, streams.random_batches(log, seed), seed)
    twins.agree()
    labels: dict[str, set[float]] = {}
    for example in twins.reference.examples:
        label = example["label"] if example["amount"] is None else min(1.0, example["amount"])
        labels.setdefault(example["model"], set()).add(label)
    names = {model.name for model in twins.rig.config.models.models}
    assert {name for name, found in labels.items() if len(found) > 1} == names


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return every_kind(tmp_path_factory.mktemp("labels"), POLICIES)


@FAST
@given(st.data(), streams.logs(max_size=60), st.integers(0, 99))
def test_drawn_labels_in_drawn_batches(
    labels: tuple[Path, Path, Path], data: st.DataObject, log: Log, seed: int
) -> None:
    twins = Twins({}, labels)
    twins.feed(log, data.draw(streams.cuts(log)), seed)
    twins.advance(streams.START_MS + 400 * streams.DAY)
    twins.agree(largest(log))


def journey(until_ms: int, partitions: int) -> Log:
    """Complete Journey's orders of its first `until_ms`, as they would stand in the topics."""
    found = source("complete-journey")
    log: Log = {("sales.events", number): [] for number in range(partitions)}
    begins = found.begins_ms
    assert begins is not None
    for topic, key, time_ms, value in found.events():
        if time_ms > begins + until_ms:
            break
        if topic == "sales.events":
            number = hash64(key) % partitions
            records = log[topic, number]
            records.append(Record(topic, number, len(records), key, value, time_ms))
    return log


@pytest.mark.parametrize(("partitions", "codec"), [(1, "lz4"), (3, "zstd")])
def test_the_first_month_of_complete_journey(partitions: int, codec: str) -> None:
    assert codec in CODECS
    log = journey(MONTH_MS, partitions)
    assert sum(map(len, log.values())) > 10_000
    twins = Twins(weights(5))
    twins.feed(log, {place: streams.cut(records, [1, 999], [codec]) for place, records in log.items()})
    twins.agree()
    assert not twins.rig.dead_letters()


@pytest.mark.parametrize("seed", range(3))
def test_customers_unseen_for_long_start_anew(seed: int, tmp_path: Path) -> None:
    for path in FILES:
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    text = FILES[0].read_text(encoding="utf-8")
    # longer than every deadline, shorter than the log
    (tmp_path / FILES[0].name).write_text(text.replace("expire_after: 730d", "expire_after: 91d"), "utf-8")
    files = tmp_path / FILES[0].name, tmp_path / FILES[1].name, tmp_path / FILES[2].name
    log = streams.random_log(seed, 1500, partitions=1, customers=60, jump=0.1)
    twins, forgetful = Twins(files=files), Twins()
    for each in (twins, forgetful):
        each.feed(log, streams.random_batches(log, seed), seed)
    twins.agree()
    kept = {key: row["web_events.x"] for key, row in forgetful.rig.dump().items()}
    fewer = {key: row["web_events.x"] for key, row in twins.rig.dump().items()}
    assert kept.keys() == fewer.keys()
    assert any(fewer[key] < kept[key] for key in kept)
