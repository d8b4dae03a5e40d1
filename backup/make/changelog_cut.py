"""One partition of the changelog, cut where a commit cycle ended: the newest record of each key up to there.

It is read twice: first only which offset is the newest of each key, up to the newest control row; then the records
themselves, straight into the file. In memory are the keys of one partition, about 200 bytes each.

The broker may compact the log meanwhile. A record that counts at the cut can be gone only because a newer one of its
key stands behind the cut, in a part of the log that was compacted, too. Such rows are taken from behind the cut: they
are then ahead of the offsets that are read on from, which is right (docs/ARCHITECTURE.md), but not exact. Two things
tell that it happened:
- what the first reading took for the newest is not there any more at the second one. The log cleaner replaces segments
  in the order of their offsets, so an older record of a key is never left where a newer one before the cut is gone;
- offsets are missing before the cut, and so is the control row before the newest one, which goes when the log is
  compacted past the newest. Then a key may stand behind the cut only, and all that do are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from backup.file import Slice, encode
from backup.topic_log import Log, Record
from streams.durability import CONTROL_KEY, LAYOUT_KEY, read_control
from streams.errors import Retryable

TRIES = 5  # to find a key behind the cut before the log is compacted once more


@dataclass(slots=True)
class Cut:
    """What the first reading found: the newest offset of each key before `offset`, which is one behind the newest
    control row; the layouts described and that control row; the source offsets that control rows named last.

    `before`: the offset of the control row before the newest; `whole`: no record before the cut is missing.
    """

    offset: int
    newest: dict[bytes, int] = field(default_factory=dict)
    special: dict[bytes, bytes] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    layout: int = 0
    before: int = -1
    whole: bool = True


Told = Callable[[int], None]  # offsets that were passed


def find_cut(log: Log, topic: str, number: int, begin: int, end: int, told: Told) -> Cut:
    """Read `begin` to before `end` for keys and control rows."""
    cut = Cut(begin)
    newest: dict[bytes, int] = {}  # since the newest control row: of a cycle that has not ended
    special: dict[bytes, bytes] = {}
    control_at = -1
    following, missing, after_control = begin, 0, True
    for record in _told(log.read(topic, number, begin, end), begin, end, told):
        key, value = record.key or b"", record.value
        # behind a control row stands the mark that its transaction was committed, which is not read as a record;
        # a mark between rows counts as missing, which only makes the search below more thorough
        missing += max(0, record.offset - following - after_control)
        following, after_control = record.offset + 1, key == CONTROL_KEY
        if key == CONTROL_KEY and value is not None:
            control = read_control(value)
            cut.newest.update(newest)
            cut.special.update(special)
            newest, special = {}, {}
            cut.special[key] = value
            cut.offset = record.offset + 1
            cut.whole = missing == 0
            cut.before, control_at = control_at, record.offset
            cut.sources.update({topic: int(offset) for topic, offset in control.get("offsets", {}).items()})
            cut.layout = int(control.get("layout", 0))
        elif key.startswith(LAYOUT_KEY) and value is not None:
            special[key] = value
        else:
            newest[key] = record.offset
    return cut


def write_cut(
    log: Log, topic: str, number: int, cut: Cut, part: Slice, add: Callable[[bytes], None], told: Told
) -> None:
    """Read the same again and `add` it: layouts first, as rows are read by them; the control row last.

    An increment (`part.marks`) needs the marks of deleted keys too; a full backup leaves the keys out.
    """
    control = cut.special.pop(CONTROL_KEY, None)
    for key, value in cut.special.items():
        add(encode(key, value))
    sure = cut.whole
    known = set() if sure else set(cut.newest)
    for record in _told(log.read(topic, number, part.begin, cut.offset), part.begin, cut.offset, told):
        key = record.key or b""
        sure = sure or record.offset == cut.before
        if cut.newest.get(key) == record.offset:
            del cut.newest[key]
            _add_row(record, part, add)
    if cut.newest or not sure:
        _from_behind(log, topic, number, cut, part, add, None if sure else known)
    if control is not None:
        add(encode(CONTROL_KEY, control))


def _add_row(record: Record, part: Slice, add: Callable[[bytes], None]) -> None:
    if record.value is None:
        if not part.marks:
            return
        part.deleted += 1
    else:
        part.rows += 1
    add(encode(record.key or b"", record.value))


def _from_behind(
    log: Log,
    topic: str,
    number: int,
    cut: Cut,
    part: Slice,
    add: Callable[[bytes], None],
    known: set[bytes] | None,
) -> None:
    """What was compacted away: any newer record of the key will do. `known`: keys that stand before the cut, when
    others may have stood there, too; None when none is unknown."""
    missing = set(cut.newest)
    for _ in range(TRIES):
        part.tail = log.bounds(topic, number)[1]
        for record in log.read(topic, number, cut.offset, part.tail):
            key = record.key or b""
            if key[:1] != b"\0" and (key in cut.newest or (known is not None and key not in known)):
                part.ahead += 1
                missing.discard(key)
                _add_row(record, part, add)
        if not missing:
            return
    raise Retryable(f"{topic}[{number}] is compacted faster than it is read; try again")


def _told(records: Iterator[Record], begin: int, end: int, told: Told) -> Iterator[Record]:
    at = begin
    for count, record in enumerate(records):
        yield record
        if count % 1024 == 1023:
            told(record.offset - at)
            at = record.offset
    told(end - at)


def latest_offsets(committed: Mapping[str, Any], cut: Cut) -> dict[str, int]:
    """By topic: what was committed before the changelog's end was asked for, or what a control row names since."""
    return {
        topic: max(committed.get(topic, 0), cut.sources.get(topic, 0)) for topic in {*committed, *cut.sources}
    }
