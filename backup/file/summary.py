"""What a backup says of itself: the header, which everybody may read, and the summary, sealed like the rest."""

from __future__ import annotations

import msgspec

FULL, INCREMENT = "full", "increment"

# the sections; `OUTPUT` and `TABLE` are followed by a name
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
    """A run of chunks: `position` in the file and number of the first, and how many there are."""

    name: str
    partition: int
    position: int
    chunk: int
    chunks: int = 0
    records: int = 0


class Slice(msgspec.Struct):
    """What was taken of a partition of the changelog: offsets `begin` to before `cut`.

    `marks`: with the marks of deleted keys. `ahead`: rows that were compacted away before the cut, taken from
    behind it.
    """

    begin: int
    cut: int
    marks: bool = False
    rows: int = 0
    deleted: int = 0
    ahead: int = 0
    tail: int = 0  # rows that are ahead were found before this offset
    layout: int = 0  # that the control row names; 0 without one


class Range(msgspec.Struct):
    """Records `begin` to before `end` of a partition of an output topic."""

    begin: int
    end: int


class Summary(msgspec.Struct):
    """Offsets are by topic and partition; partitions are text, as JSON has it."""

    partitions: int = 0
    topic_ids: dict[str, str] = {}
    changelog: dict[str, Slice] = {}
    # what the rows hold: events before these offsets are in them, and none from there on
    sources: dict[str, dict[str, int]] = {}
    # where rows are ahead of that: no row holds an event from here on
    reached: dict[str, dict[str, int]] = {}
    outputs: dict[str, dict[str, Range]] = {}
    groups: dict[str, dict[str, dict[str, int]]] = {}  # committed offsets as they were found, by group
    snapshots: int = 0
    analyst: int = 0  # records of what the analyst knows
    tables: dict[str, int] = {}  # rows
    files: list[str] = []
    sections: list[Section] = []
