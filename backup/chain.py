"""A chain: a full backup and its increments, opened in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backup.file import (
    ANALYST,
    CHANGELOG,
    FILES,
    FULL,
    MODELS,
    OUTPUT,
    TABLE,
    ArchiveReader,
    Header,
    Range,
    Slice,
    Summary,
    decode,
    pieces,
)
from streams.errors import Fatal

from .analyst_state import PARTITION
from .ledger_tables import rows_of

SUFFIX = ".backup"
Progress = Callable[[int, int], None]


class Chain:
    """The backups that a restore reads, oldest first. A context manager.

    The newest backup describes the state; its ancestors hold the parts that it builds on.
    """

    def __init__(self, readers: Sequence[ArchiveReader]) -> None:
        self.readers = list(readers)

    @property
    def newest(self) -> ArchiveReader:
        """The last backup of the chain."""
        return self.readers[-1]

    @property
    def id(self) -> str:
        """The id of the newest backup, whose state the chain restores."""
        return self.newest.header.id

    @property
    def summary(self) -> Summary:
        """The summary of the newest backup."""
        return self.newest.summary

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self.readers:
            reader.close()

    def verify(self, progress: Progress) -> None:
        """Open every chunk of every file, so that a restore refuses a chain with a damaged part."""
        sizes = [reader.path.stat().st_size for reader in self.readers]
        before = 0
        for reader, size in zip(self.readers, sizes, strict=True):
            for at in reader.verify():
                progress(before + at, sum(sizes))
            before += size
        progress(before, before)

    def changelog(self, number: int) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """Yields the records of a partition, a chunk at a time, oldest first. The last record of a key counts."""
        for reader in self.readers:
            for chunk in reader.chunks(reader.section(CHANGELOG, number)):
                yield list(decode(chunk))

    def output(self, topic: str, number: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Yields the output records that the ledger or the learner had not consumed at the backup."""
        for reader in self.readers:
            for chunk in reader.chunks(reader.section(OUTPUT + topic, number)):
                yield from decode(chunk)

    def output_range(self, topic: str, number: int) -> Range:
        """The offsets of these output records."""
        first, last = (
            r.summary.outputs.get(topic, {}).get(str(number)) for r in (self.readers[0], self.newest)
        )
        return Range(first.begin if first else 0, last.end if last else 0)

    def models(self, number: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Yields the model snapshots of a partition."""
        for chunk in self.newest.chunks(self.newest.section(MODELS, number)):
            yield from decode(chunk)

    def analyst(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yields the analyst's state, the control record last."""
        for chunk in self.newest.chunks(self.newest.section(ANALYST, PARTITION)):
            yield from decode(chunk)

    def files(self) -> dict[str, bytes]:
        """The config files by name, as they were at the backup."""
        found = {}
        for chunk in self.newest.chunks(self.newest.section(FILES)):
            for name, data in pieces(chunk):
                found[Path(name).name] = data
        return found

    def tables(self) -> dict[str, Iterator[dict[str, object]]]:
        """The rows of each table, from the newest backup that has the table."""
        found: dict[str, Iterator[dict[str, object]]] = {}
        for reader in self.readers:
            for name in reader.summary.tables:
                found[name] = iter(rows_of(reader.chunks(reader.section(TABLE + name))))
        return found

    def slices(self, number: int) -> list[Slice]:
        """The slice of a changelog partition that each backup holds."""
        return [reader.summary.changelog[str(number)] for reader in self.readers]


def open_chain(paths: Sequence[Path], key: bytes | None) -> Chain:
    """Open a chain.

    One path: that backup, with its ancestors from the same folder. More paths: a full backup and its increments.
    """
    if len(paths) == 1:
        paths = _with_ancestors(paths[0])
    chain = Chain([])
    try:
        for path in paths:
            chain.readers.append(ArchiveReader(path))
        _check_order(chain.readers)
        for reader in chain.readers:
            reader.unlock(key)
    except BaseException:
        chain.__exit__()
        raise
    return chain


def _check_order(readers: Sequence[ArchiveReader]) -> None:
    before = ""
    for reader in readers:
        if reader.header.parent != before:
            what = "a full backup" if not before else f"what follows {before}"
            raise Fatal(f"{reader.path} is not {what}: name a full backup and its increments in order")
        before = reader.header.id


def _with_ancestors(newest: Path) -> list[Path]:
    paths, header = [newest], header_of(newest)
    beside = nearby(newest.parent) if header.kind != FULL else []
    while header.kind != FULL:
        found = next(((path, other) for path, other in beside if other.id == header.parent), None)
        if found is None:
            raise Fatal(
                f"{paths[0]} builds on backup {header.parent}, which is not beside it; name all files in order"
            )
        paths.insert(0, found[0])
        header = found[1]
    return paths


def header_of(path: Path) -> Header:
    """The header of the backup at `path`."""
    reader = ArchiveReader(path)
    reader.close()
    return reader.header


def nearby(folder: Path) -> list[tuple[Path, Header]]:
    """The readable backups in a folder, oldest first."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            found.append((path, header_of(path)))
        except Fatal:
            continue
    return sorted(found, key=lambda each: (each[1].created_ms, each[0].name))
