"""The layout of a row: what each word holds. A changed declaration makes a new layout; old rows move to it by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from streams.kernels import hash_bytes
from streams.state import GONE, Moves, move

from .columns import DECAY, KINDS, Column, Features

CLOCK = 0  # the word with the time as of which the decayed columns are; 0 = a new row
APPLIED = 1  # the first of the applied offsets
EXAMPLE_HEAD = 4  # an open example's first words: opened, due, score, snapshot; then its features as float32
IDS, EXAMPLE, POLICY = (
    "ids",
    "example",
    "policy",
)  # meanings of the groups of message ids, examples and policies


@dataclass(frozen=True, slots=True)
class Group:
    """Named words that migrate together, and only to a group of the same name and the same `meaning`."""

    name: str
    start: int
    words: int
    meaning: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One value that models, conditions and people see. `parameter`: 1/half-life or a ring's size."""

    name: str
    opcode: int
    word: int
    parameter: float = 0.0


class Layout:
    """Words, views and identity of a customer's row.

    The decayed columns come first, sorted by half-life, so that decay is a plain loop over adjacent words. A run of
    one half-life ends at `decay_stop: int64[g]` and starts where the run before ends (the first at `decay_start`).
    `decay_rate: float64[g]` is 1/half-life in 1/ms.
    """

    def __init__(
        self,
        features: Features,
        models: dict[str, tuple[str, ...]],
        policies: list[str],
        kept: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`models`: the features of each model's example; `policies`: names, in order; `kept`: further values of a
        model's example, one word each."""
        self.features = features
        self.topics = [source.topic for source in features.sources]
        self.groups: list[Group] = []
        self._defaults: list[float] = []
        self.words = 0
        self.column_at: dict[str, int] = {}
        self._add("clock", (0.0,), ("clock",))
        minus_one = float(np.array([-1], np.int64).view(np.float64)[0])
        for topic in self.topics:
            self._add(f"applied:{topic}", (minus_one,), ("applied",))
        self.ring_at = self._add(
            "message_ids", (0.0,) * (1 + features.message_ids), (IDS, features.message_ids)
        )
        self.ring_size = features.message_ids
        self._columns(features.columns)
        self.policy_at = {name: self._add(f"{POLICY}:{name}", (0.0, 0.0), (POLICY,)) for name in policies}
        self.example_at: dict[str, int] = {}
        self.example_words: dict[str, int] = {}
        self._kept_at: dict[tuple[str, str], int] = {}
        for name, features_of in models.items():
            self._example(name, features_of, (kept or {}).get(name, ()))
        self.default_row = np.array(self._defaults)
        self.views = self._views(features.columns)
        self.view_index = {view.name: number for number, view in enumerate(self.views)}
        self.description = self._describe()
        self.layout_id = hash_bytes(self.description) >> 1  # fits a signed long
        self.deadline_columns = [c.name for c in features.columns if c.kind == "deadline"]

    def _add(self, name: str, defaults: tuple[float, ...], meaning: tuple[Any, ...]) -> int:
        start = self.words
        self.groups.append(Group(name, start, len(defaults), meaning))
        self._defaults += defaults
        self.words += len(defaults)
        return start

    def _columns(self, columns: tuple[Column, ...]) -> None:
        decayed = sorted((c for c in columns if c.kind == "decayed"), key=lambda c: c.half_life_ms)
        self.decay_start = self.words
        stops: list[int] = []
        rates: list[float] = []
        for column in [*decayed, *(c for c in columns if c.kind != "decayed")]:
            self.column_at[column.name] = self._add(column.name, column.defaults, tuple(column.identity()))
            if column.kind == "decayed":
                rate = 1.0 / column.half_life_ms
                if rates and rates[-1] == rate:
                    stops[-1] = self.words
                else:
                    rates.append(rate)
                    stops.append(self.words)
        self.decay_stop, self.decay_rate = np.array(stops, np.int64), np.array(rates)

    def _example(self, name: str, features: tuple[str, ...], kept: tuple[str, ...]) -> None:
        plain = EXAMPLE_HEAD + (len(features) + 1) // 2
        meaning = (" ".join((EXAMPLE, *kept)), *features)
        start = self._add(f"{EXAMPLE}:{name}", (0.0,) * (plain + len(kept)), meaning)
        self.example_at[name], self.example_words[name] = start, plain + len(kept)
        for place, what in enumerate(kept):
            self._kept_at[name, what.partition(":")[0]] = start + plain + place

    def kept_at(self, model: str, what: str) -> int:
        """Return the word of a model's example that holds its `sum` or `same`; 0 if it has none."""
        return self._kept_at.get((model, what), 0)

    def _views(self, columns: tuple[Column, ...]) -> list[View]:
        views = []
        for column in columns:
            for suffix, opcode, word in KINDS[column.kind].views:
                parameter = 1.0 / column.half_life_ms if opcode == DECAY else float(column.size)
                views.append(
                    View(column.name + suffix, opcode, self.column_at[column.name] + word, parameter)
                )
        return views

    def _describe(self) -> bytes:
        groups = [[group.name, group.words, list(group.meaning)] for group in self.groups]
        views, fields = [view.name for view in self.views], [field.name for field in self.features.fields]
        new = self.default_row.view(np.int64)
        # a packed row holds only the words that differ from a new row
        nonzero = [[word, int(new[word])] for word in np.flatnonzero(new).tolist()]
        return orjson.dumps({"groups": groups, "views": views, "fields": fields, "new": nonzero})

    @property
    def deadline_words(self) -> Any:
        """The words that hold due times (int64[d]): those of the deadline columns, then one a model's example."""
        columns = [self.column_at[name] for name in self.deadline_columns]
        return np.array(columns + [at + 1 for at in self.example_at.values()], np.int64)


@dataclass(frozen=True, slots=True)
class Described:
    """Names of the numbers in a view, a receipt or an example of one layout, for a reader with another layout or none.

    `models`: the features of each model's example, in the order of scores and snapshots.
    """

    views: tuple[str, ...]
    fields: tuple[str, ...]
    models: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, description: bytes) -> Described:
        """Parse a layout's `description`."""
        parsed = orjson.loads(description)
        named = [(name.partition(":"), meaning) for name, _words, meaning in parsed["groups"]]
        models = {name: tuple(meaning[1:]) for (what, _, name), meaning in named if what == EXAMPLE}
        return cls(tuple(parsed["views"]), tuple(parsed.get("fields", ())), models)


class Migration:
    """Moves rows of an older layout, given by its description, to `layout` by name.

    Words of a name whose meaning changed, or that the old layout lacks, get their defaults. If the number of
    message ids changes, the newest ones stay; otherwise a repeated event would count twice.
    """

    def __init__(self, layout: Layout, description: bytes) -> None:
        parsed = orjson.loads(description)
        old = parsed["groups"]
        old_words = sum(words for _name, words, _meaning in old)
        old_default = np.zeros(old_words, np.int64)
        for word, bits in parsed.get("new", ()):
            old_default[word] = bits
        groups = {group.name: group for group in layout.groups}
        target = np.full(old_words, GONE, np.int64)
        ring = (-1, 0, -1, 0)
        start = 0
        for name, words, meaning in old:
            group = groups.get(name)
            if group is not None and [*group.meaning] == meaning and group.words == words:
                target[start : start + words] = range(group.start, group.start + words)
            elif group is not None and group.meaning[0] == meaning[0] == IDS:
                target[start] = group.start  # their count
                ring = start, words - 1, group.start, group.words - 1
            start += words
        base = layout.default_row.view(np.int64)
        self.moves = Moves(target, old_default, base, np.array(ring, np.int64))

    def put(self, buf: Any, at: Any, size: Any, slots: Any, bits: Any) -> int:
        """Write packed rows of the old layout to `bits[slots]`; see `streams.state.migration.move_rows`."""
        return move(buf, at, size, slots, self.moves, bits)
