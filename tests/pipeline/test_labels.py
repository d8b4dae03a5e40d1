"""Labels as the worker keeps them: what the config may ask for, and open examples through a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config
from streams.batches.record_batch import parse_batch
from streams.durability.restorer import Restorer
from streams.engine.partition import Partition
from streams.errors import ConfigError
from tests.doubles import Rig
from tests.doubles.outputs import messages
from tests.promises.test_reference import FEATURES, LABELS
from tests.reference import streams
from tests.reference.record import Record

BEFORE = "  newest: "  # of which there are two readers
MORE = "  checkouts: {kind: count, on: [checkout]}\n"


def folder(path: Path, models: str = LABELS, more: str = "") -> Path:
    path.mkdir()
    features = "".join(line for line in FEATURES.splitlines(True) if not line.startswith(BEFORE)) + more
    for name, text in (("features", features), ("models", models), ("policies", "policies: {}\n")):
        (path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("amount: amount", "amount: amunt", "amount: unknown field 'amunt'; did you mean 'amount'?"),
        ("amount: amount", "amount: categories", "amount: expected a field that is one value, categories is a set"),
        ("amount: value", "amount: offer", "amount: expected a number, offer is a string"),
        ("amount: amount", "amount: value", "amount: expected a field that fields of features.yaml read from order"),
        ("same: category", "same: quantity", "same: expected a field that fields of features.yaml read from cart_add"),
        ("if: last_order IS NULL", "if: again > 0.5", "if: again is a score; expected columns and fields"),
        ("if: last_order IS NULL", "if: last_order +", "if: "),
        ("if: last_order IS NULL", "if: last_order", "if: is a number; expected a condition"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in LABELS
    with pytest.raises(ConfigError) as caught:
        load_config(folder(tmp_path / "config", LABELS.replace(old, new, 1)))
    line = next(number for number, text in enumerate(LABELS.splitlines(), 1) if old in text)
    told = str(caught.value).removeprefix(f"{tmp_path / 'config' / 'models.yaml'}:")
    assert told.startswith(f"{line}: {said}")
    assert "\n" not in told


def examples(rig: Rig, first: int = 0) -> list[dict[str, Any]]:
    """What was emitted, but for the layout that it names."""
    rows = (row for found in rig.decoded().values() for row in found if "label" in row)
    return [{**row, "layout": 0} for row in rows][first:]


def test_a_restart_with_another_layout_in_the_middle_changes_no_label(tmp_path: Path) -> None:
    old = load_config(folder(tmp_path / "old"))
    new = load_config(folder(tmp_path / "new", more=MORE))
    log = streams.random_log(5, 2500, customers=8, partitions=1, shares=(2, 0, 2, 5), jump=0.01, bad=0.0)
    halves = []
    for which in (slice(0, 1000), slice(1000, None)):
        some = {
            place: [r for r in records if r.offset in range(10_000)[which]] for place, records in log.items()
        }
        halves.append(
            {place: streams.cut(records, [50], ["lz4"]) for place, records in some.items() if records}
        )
    undisturbed = Rig(config=old, columns=())
    for half in halves:
        undisturbed.feed(half)
    first, second = Rig(config=old, columns=()), Rig(config=new, columns=())
    first.feed(halves[0])
    done = len(examples(first))
    second.engine.partitions[0] = moved(first, second)
    second.feed(halves[1])
    for rig in (undisturbed, second):
        rig.engine.raise_watermark(rig.engine.partitions[0], streams.START_MS + 4000 * streams.DAY)
    expected, found = examples(undisturbed, done), examples(second)
    assert repr(found) == repr(expected)
    across = {(e["model"], e["amount"] is None) for e in expected[:20]}
    assert len(across) > 3, "examples were open when it restarted"


def moved(first: Rig, second: Rig) -> Partition:
    """The partition of one rig restored from its changelog by another one."""
    layout, work = first.work.layout, second.work
    before = first.engine.partitions[0]
    description = (b"\0layout:%d" % layout.layout_id, layout.description)
    entries = [description]
    entries += [
        (m["key"], m["value"]) for m in messages(before.records(before.take_changed(), layout.layout_id))
    ]
    after = Partition(0, len(work.layout.topics), work.fields, work.default_row, work.deadline_words)
    restorer = Restorer(work.layout.layout_id, work.migration)
    records = [Record("changelog", 0, at, key, value, 0) for at, (key, value) in enumerate(entries)]
    for raw in streams.cut(records, [50], ["none"]):
        restorer.apply(after, parse_batch(raw, first=0))
    after.state = work.new_state()
    after.clocks[:] = before.clocks
    after.positions[:] = before.positions
    after.activate()
    return after
