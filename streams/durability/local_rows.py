"""Keeps a partition's rows in a file on this machine, so that a restarted worker need not read the whole changelog.

A worker writes the file when it stops, after its last commit cycle: keys and packed rows as of the control row at a
changelog offset. A start on the same machine takes the file if it is whole (its checksum), of this changelog (the
topic's id) and of this layout. It then reads the changelog from that offset on, and with it all that others wrote
since. In every other case it ignores the file and reads the changelog from its start.
"""

from __future__ import annotations

import itertools
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from streams.engine import Partition

MAGIC = b"SWROWS1\n"
HEAD = struct.Struct("<8sIQI")  # magic, length of the description, length of the arrays, checksum of both
OLDEST_S = 12 * 3600.0  # half of the time for which a compacted topic keeps tombstones by default
ROWS_AT_ONCE = 100_000


class ChangelogIdentity(NamedTuple):
    """Names the changelog and the layout that rows belong to."""

    topic_id: str
    layout_id: int


class Found(NamedTuple):
    """The result of `load`: the changelog offset up to which the rows go, the control row there, and their number."""

    offset: int
    control: dict[str, Any]
    rows: int


def save(folder: Path, partition: Partition, place: ChangelogIdentity, offset: int, control: bytes) -> int:
    """Write the rows of a partition to its file; returns how many. The changelog up to `offset` holds all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    slots = partition.held_slots()
    target = _path(folder, partition.number)
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.write(bytes(HEAD.size))
        about = orjson.dumps(
            {
                "topic_id": place.topic_id, "layout": place.layout_id, "partition": partition.number, "offset": offset,
                "control": orjson.loads(control), "written": time.time(),
            }
        )  # fmt: skip
        about += b" " * (-len(about) % 8)  # `load` reads the arrays behind it as words
        checksum, length = zlib.crc32(about), 0
        file.write(about)
        for chunk in _chunks(partition, slots, place.layout_id):
            checksum = zlib.crc32(chunk, checksum)
            length += len(chunk)
            file.write(chunk)
        file.seek(0)
        file.write(HEAD.pack(MAGIC, len(about), length, checksum))
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
    return len(slots)


def load(folder: Path, partition: Partition, place: ChangelogIdentity) -> Found | None:
    """Fill a partition that has no rows yet from its file; None when there is no file that can be trusted."""
    try:
        data = np.fromfile(_path(folder, partition.number), np.uint8)
    except FileNotFoundError:
        return None
    whole = _checked(data)
    if whole is None:
        return None
    about, arrays = whole
    of_this = about["topic_id"], about["layout"], about["partition"]
    if of_this != (*place, partition.number) or time.time() - about["written"] > OLDEST_S:
        return None
    rows = 0
    while len(arrays):
        count, key_bytes, value_words = arrays[:24].view(np.int64).tolist()
        stops = np.cumsum([24, 8 * count, key_bytes, 8 * count, 8 * value_words])
        sizes, keys, ends, values = (arrays[a:b] for a, b in itertools.pairwise(stops))
        _put(partition, sizes.view(np.int64), keys, ends.view(np.int64), values)
        arrays = arrays[stops[-1] :]
        rows += count
    return Found(int(about["offset"]), about["control"], rows)


def _checked(data: Any) -> tuple[dict[str, Any], Any] | None:
    if len(data) < HEAD.size:
        return None
    magic, described, length, checksum = HEAD.unpack(data[: HEAD.size].tobytes())
    body = data[HEAD.size :]
    if magic != MAGIC or len(body) != described + length or zlib.crc32(body) != checksum:
        return None
    return orjson.loads(body[:described].tobytes()), body[described:]


def _chunks(partition: Partition, slots: Any, layout_id: int) -> Iterator[bytes]:
    """Counts (rows, bytes of keys, words of values), sizes of the keys, keys, ends of the values, values."""
    for start in range(0, len(slots), ROWS_AT_ONCE):
        some = slots[start : start + ROWS_AT_ONCE]
        keys = partition.index.keys(some)
        values, ends = partition.rows.values(some, layout_id)
        sizes = np.array([len(key) for key in keys], np.int64)
        joined = b"".join(keys)
        joined += bytes(-len(joined) % 8)  # `load` reads what follows as words
        yield np.array([len(some), len(joined), len(values)], np.int64).tobytes()
        yield sizes.tobytes()
        yield joined
        yield ends.tobytes()
        yield values.tobytes()


def _put(partition: Partition, sizes: Any, keys: Any, ends: Any, values: Any) -> None:
    count = len(sizes)
    slots = np.empty(count, np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    partition.index.slots(keys, starts, sizes, np.zeros(count, np.uint8), count, slots)
    partition.make_room()
    at = np.concatenate([[0], 8 * ends[:-1]]).astype(np.int64)
    if partition.rows.put(values, at, 8 * ends - at, slots) >= 0:
        raise ValueError("a row in a file whose checksum is right is not whole")


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.rows"
