"""What a backup says about itself: the header, readable without the key, and the summary, sealed like the chunks."""

from __future__ import annotations

import msgspec

FULL, INCREMENT = "full", "increment"

# names of sections; a topic follows `OUTPUT`, a table follows `TABLE`
CHANGELOG, MODELS, FILES, ANALYST = "changelog", "models", "files", "analyst"
OUTPUT, TABLE = "output:", "table:"


class Header(msgspec.Struct, frozen=True):
    """`parent`: the id of the backup that an increment builds on."""

    id: str
    kind: str
    created_ms: int
    parent: str = ""
    salt: str = ""
    key: str = ""


class Section(msgspec.Struct):
    """A run of chunks: `position` of the first in the file, its number `chunk`, and how many `chunks` there are."""

    name: str
    partition: int
    position: int
    chunk: int
    chunks: int = 0
    records: int = 0


class Slice(msgspec.Struct):
    """The part of a changelog partition that a backup holds: offsets `begin` to before `cut`.

    `marks`: whether it holds tombstones too. `ahead`: the number of rows taken from behind the cut, because
    compaction had removed them before it.
    """

    begin: int
    cut: int
    marks: bool = False
    rows: int = 0
    deleted: int = 0
    ahead: int = 0
    tail: int = 0  # every row that is ahead stood before this offset
    layout: int = 0  # the layout that the control row names; 0 without a control row


class Range(msgspec.Struct):
    """Offsets `begin` to before `end` of a partition of an output topic."""

    begin: int
    end: int


class Summary(msgspec.Struct):
    """Counts and offsets of a backup. Offsets are by topic and partition; partitions are text, as keys of JSON are."""

    partitions: int = 0
    topic_ids: dict[str, str] = {}
    changelog: dict[str, Slice] = {}
    # the rows hold every event before these offsets, and none from there on
    sources: dict[str, dict[str, int]] = {}
    # some rows may be ahead of `sources`, but none holds an event from these offsets on
    reached: dict[str, dict[str, int]] = {}
    outputs: dict[str, dict[str, Range]] = {}
    groups: dict[str, dict[str, dict[str, int]]] = {}  # committed offsets at the time of the backup, by group
    snapshots: int = 0
    analyst: int = 0  # records of the analyst's state
    tables: dict[str, int] = {}  # rows
    files: list[str] = []
    sections: list[Section] = []
