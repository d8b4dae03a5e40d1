"""A changed declaration is a new layout, and rows move to it by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from customers.row.columns import load_features
from customers.row.layout import Described, Layout, Migration
from pipeline.config import event_kinds
from streams.errors import ConfigError
from tests.doubles.migrated import migrated

OLD = """
lateness: 5m
message_ids: 2
sources: [{topic: web.events, schema: web_event}, {topic: sales.events, schema: sales_event}]
fields:
  amount: {sales.events: amount}
columns:
  pages: {kind: decayed, on: [page], half_life: [1h, 1d]}
  visits: {kind: count, on: [page]}
  spend: {kind: sum, on: [order], field: amount}
  recent: {kind: ring, on: [order], field: amount, size: 2}
  smallest: {kind: minimum, on: [order], field: amount}
"""
NEW = OLD.replace("[1h, 1d]", "[1d, 1w]").replace("size: 2", "size: 3")
NEW = NEW.replace("  visits: {kind: count, on: [page]}\n", "")
NEW = NEW.replace("web_event}, ", "web_event}, {topic: social.events, schema: social_event}, ")
NEW += "  largest: {kind: maximum, on: [order], field: amount}\n"


ABC = ("a", "b", "c")  # what a model sees


def layout(
    folder: Path,
    text: str,
    models: dict[str, tuple[str, ...]] | None = None,
    policies: list[str] | None = None,
) -> Layout:
    path = folder / "features.yaml"
    path.write_text(text, encoding="utf-8")
    return Layout(load_features(path, event_kinds()), models or {"m": ("a", "b", "c")}, policies or ["p"])


def numbered(found: Layout) -> np.ndarray:
    """A row whose words are all different and none a default."""
    return np.arange(100.0, 100.0 + found.words).reshape(1, -1)


def test_the_words_stand_in_the_order_of_the_contract(tmp_path: Path) -> None:
    found = layout(tmp_path, OLD)
    assert [(group.name, group.start, group.words) for group in found.groups] == [
        ("clock", 0, 1), ("applied:web.events", 1, 1), ("applied:sales.events", 2, 1), ("message_ids", 3, 3),
        ("pages_1h", 6, 1), ("pages_1d", 7, 1), ("visits", 8, 1), ("spend", 9, 1), ("recent", 10, 3),
        ("smallest", 13, 1), ("policy:p", 14, 2), ("example:m", 16, 6),
    ]  # fmt: skip
    assert found.default_row.view(np.int64)[1:3].tolist() == [-1, -1]


def test_a_row_of_the_same_layout_moves_as_it_is(tmp_path: Path) -> None:
    found = layout(tmp_path, OLD)
    assert (
        migrated(Migration(found, found.description), numbered(found)).tobytes() == numbered(found).tobytes()
    )


def test_words_move_by_name_and_what_is_new_or_changed_has_its_default(tmp_path: Path) -> None:
    old = layout(tmp_path, OLD, {"m": ABC, "kept": ("a", "b"), "gone": ("a",)}, ["p", "q"])
    new = layout(tmp_path, NEW, {"m": ("a", "b", "other"), "kept": ("a", "b"), "n": ("a",)}, ["q", "r"])
    assert old.layout_id != new.layout_id
    row = numbered(old)
    moved = migrated(Migration(new, old.description), np.vstack([row, row + 1000]))
    there = {group.name: group for group in old.groups}
    kept = {"clock", "applied:web.events", "applied:sales.events", "message_ids"}
    kept |= {"pages_1d", "spend", "smallest", "policy:q", "example:kept"}
    for group in new.groups:
        mine = slice(group.start, group.start + group.words)
        if group.name in kept:
            start = there[group.name].start
            assert moved[0, mine].tolist() == row[0, start : start + group.words].tolist(), group.name
            assert moved[1, mine].tolist() == (row[0, start : start + group.words] + 1000).tolist()
        else:  # pages_1w, largest, social.events are new; recent, example:m (another feature) mean something else now
            assert moved[0, mine].tobytes() == new.default_row[mine].tobytes(), group.name


@pytest.mark.parametrize(("size", "kept"), [(1, [9]), (3, [9, 7, 8]), (6, [0, 7, 8, 9, 0, 0]), (0, [])])
def test_the_newest_message_ids_stay_when_their_number_changes(
    tmp_path: Path, size: int, kept: list[int]
) -> None:
    """Each where the fold looks for it: entry n at n mod size."""
    old = layout(tmp_path, OLD.replace("message_ids: 2", "message_ids: 3"))
    new = layout(tmp_path, OLD.replace("message_ids: 2", f"message_ids: {size}"))
    row = old.default_row.copy().reshape(1, -1)
    row[0, old.ring_at] = 4.0  # entries 0 to 3, of which 1 to 3 are kept
    row.view(np.int64)[0, old.ring_at + 1 : old.ring_at + 4] = 9, 7, 8
    moved = migrated(Migration(new, old.description), row)
    assert moved[0, new.ring_at] == 4.0
    assert moved.view(np.int64)[0, new.ring_at + 1 : new.ring_at + 1 + size].tolist() == kept


def test_the_id_follows_from_the_declaration_alone(tmp_path: Path) -> None:
    assert layout(tmp_path, OLD).layout_id == layout(tmp_path, OLD.replace("5m", "6m")).layout_id
    assert layout(tmp_path, OLD).layout_id != layout(tmp_path, OLD.replace("visits", "seen")).layout_id


@pytest.mark.parametrize("path", ["amount", "time", "kind", "message_id"])
def test_two_readers_of_one_value_are_refused(tmp_path: Path, path: str) -> None:
    text = OLD.replace("columns:", f"  again: {{sales.events: {path}}}\ncolumns:")
    with pytest.raises(
        ConfigError, match=rf"features\.yaml:7: field 'again': {path} of sales\.events is read by"
    ):
        layout(tmp_path, text)


def test_what_an_example_keeps_stands_behind_its_features_and_is_part_of_what_it_means(
    tmp_path: Path,
) -> None:
    path = tmp_path / "features.yaml"
    path.write_text(OLD, encoding="utf-8")
    features = load_features(path, event_kinds())

    def keeping(*kept: str) -> Layout:
        return Layout(features, {"m": ABC}, [], {"m": kept})

    plain, both = keeping(), keeping("sum:amount", "same:offer")
    start = both.example_at["m"]
    assert (both.kept_at("m", "sum"), both.kept_at("m", "same")) == (start + 6, start + 7)
    assert (both.words, plain.kept_at("m", "sum")) == (plain.words + 2, 0)
    assert Described.of(both.description).models == {"m": ABC}
    for other in (plain, keeping("sum:discount", "same:offer")):
        moved = migrated(Migration(both, other.description), numbered(other))
        assert not moved[0, start:].any()
