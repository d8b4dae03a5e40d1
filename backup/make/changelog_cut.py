"""Cuts one partition of the changelog at the end of a commit cycle: the newest record of each key before the cut.

The partition is read twice. The first pass finds the newest offset of each key, up to the newest control row. The
second pass copies these records straight into the file. Memory holds the keys of one partition, about 200 bytes each.

The broker may compact the log meanwhile. Compaction removes the newest record of a key before the cut only if a newer
one stands behind the cut, in a part of the log that was compacted too. The second pass then takes the row from behind
the cut. Such a row is ahead of the offsets that a restored worker reads on from, which is correct
(docs/ARCHITECTURE.md) but not exact. Two signs show that this happened:
- The second pass does not find the offset that the first pass recorded. The log cleaner replaces segments in the order
  of their offsets, so it never leaves an older record of a key when a newer one before the cut is gone.
- Offsets are missing before the cut, and so is the last control row but one, which goes when the log is compacted past
  the newest one. Then some keys may stand only behind the cut, and the second pass takes all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from backup.file import Slice, encode
from backup.topic_log import Log, Record
from streams.durability import CONTROL_KEY, LAYOUT_KEY, read_control
from streams.errors import Retryable

TRIES = 5  # searches behind the cut, each a race against the next compaction


@dataclass(slots=True)
class Cut:
    """The result of the first pass.

    `offset`: the cut, one after the newest control row. `newest`: the newest offset of each key before the cut.
    `special`: descriptions of layouts, and that control row. `sources`: the last source offset that a control row
    names, by topic. `before`: the offset of the last control row but one. `whole`: no record before the cut is missing.
    """

    offset: int
    newest: dict[bytes, int] = field(default_factory=dict)
    special: dict[bytes, bytes] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    layout: int = 0
    before: int = -1
    whole: bool = True


Advance = Callable[[int], None]  # takes the number of offsets passed


def find_cut(log: Log, topic: str, number: int, begin: int, end: int, advance: Advance) -> Cut:
    """First pass: read offsets `begin` to before `end` for keys and control rows."""
    cut = Cut(begin)
    newest: dict[bytes, int] = {}  # of the cycle that has not ended: since the newest control row
    special: dict[bytes, bytes] = {}
    control_at = -1
    following, missing, after_control = begin, 0, True
    for record in _counted(log.read(topic, number, begin, end), begin, end, advance):
        key, value = record.key or b"", record.value
        # A commit marker follows each control row and takes an offset, but is not read as a record.
        # A marker between rows counts as missing, which only makes the search below more thorough.
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
    log: Log, topic: str, number: int, cut: Cut, part: Slice, add: Callable[[bytes], None], advance: Advance
) -> None:
    """Second pass: `add` layouts first, as they say how to read rows; then the rows; the control row last.

    An increment (`part.marks`) needs tombstones too; a full backup leaves deleted keys out.
    """
    control = cut.special.pop(CONTROL_KEY, None)
    for key, value in cut.special.items():
        add(encode(key, value))
    sure = cut.whole
    known = set() if sure else set(cut.newest)
    for record in _counted(log.read(topic, number, part.begin, cut.offset), part.begin, cut.offset, advance):
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
    """Find rows that compaction removed before the cut; any newer record of the key will do.

    `known`: the keys found before the cut, if other keys may have stood there too; None if all are known.
    """
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


def _counted(records: Iterator[Record], begin: int, end: int, advance: Advance) -> Iterator[Record]:
    at = begin
    for count, record in enumerate(records):
        yield record
        if count % 1024 == 1023:
            advance(record.offset - at)
            at = record.offset
    advance(end - at)


def latest_offsets(committed: Mapping[str, Any], cut: Cut) -> dict[str, int]:
    """The source offset by topic: the committed one, read before the changelog's end, or a control row's if higher."""
    return {
        topic: max(committed.get(topic, 0), cut.sources.get(topic, 0)) for topic in {*committed, *cut.sources}
    }
