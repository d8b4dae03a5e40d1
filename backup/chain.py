"""A full backup and the increments that follow it, opened in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from streams.errors import Fatal

from .archive import Reader, pieces
from .cut import decode
from .summary import CHANGELOG, FILES, FULL, MODELS, OUTPUT, TABLE, Range, Slice, Summary
from .tables import rows_of

SUFFIX = ".backup"
Progress = Callable[[int, int], None]


class Chain:
    """What a restore reads: the newest backup decides, its ancestors give what it builds on. A context manager."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self.readers = list(readers)

    @property
    def newest(self) -> Reader:
        """The last one."""
        return self.readers[-1]

    @property
    def id(self) -> str:
        """The id of the state that it leads to."""
        return self.newest.header.id

    @property
    def summary(self) -> Summary:
        """That of the newest."""
        return self.newest.summary

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self.readers:
            reader.close()

    def verify(self, progress: Progress) -> None:
        """Open every chunk of every file. Nothing is restored from a chain of which a part is damaged."""
        sizes = [reader.path.stat().st_size for reader in self.readers]
        before = 0
        for reader, size in zip(self.readers, sizes, strict=True):
            for at in reader.verify():
                progress(before + at, sum(sizes))
            before += size
        progress(before, before)

    def changelog(self, number: int) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """The records of a partition, a chunk at a time, oldest first: of a key the last one counts."""
        for reader in self.readers:
            for chunk in reader.chunks(reader.section(CHANGELOG, number)):
                yield list(decode(chunk))

    def output(self, topic: str, number: int) -> Iterator[tuple[bytes, bytes | None]]:
        """The records of an output topic that the ledger or the learner of this backup has not taken."""
        for reader in self.readers:
            for chunk in reader.chunks(reader.section(OUTPUT + topic, number)):
                yield from decode(chunk)

    def output_range(self, topic: str, number: int) -> Range:
        """Their offsets."""
        first, last = (
            r.summary.outputs.get(topic, {}).get(str(number)) for r in (self.readers[0], self.newest)
        )
        return Range(first.begin if first else 0, last.end if last else 0)

    def models(self, number: int) -> Iterator[tuple[bytes, bytes | None]]:
        """The snapshots in a partition of their topic."""
        for chunk in self.newest.chunks(self.newest.section(MODELS, number)):
            yield from decode(chunk)

    def files(self) -> dict[str, bytes]:
        """The config files as they were."""
        found = {}
        for chunk in self.newest.chunks(self.newest.section(FILES)):
            for name, data in pieces(chunk):
                found[Path(name).name] = data
        return found

    def tables(self) -> dict[str, Iterator[dict[str, object]]]:
        """The rows of each table: of the newest backup that has it."""
        found: dict[str, Iterator[dict[str, object]]] = {}
        for reader in self.readers:
            for name in reader.summary.tables:
                found[name] = iter(rows_of(reader.chunks(reader.section(TABLE + name))))
        return found

    def slices(self, number: int) -> list[Slice]:
        """What each backup took of a partition of the changelog."""
        return [reader.summary.changelog[str(number)] for reader in self.readers]


def open_chain(paths: Sequence[Path], key: bytes | None) -> Chain:
    """Open one backup, its ancestors looked for beside it, or a full one and its increments as they are given."""
    readers = [Reader(path) for path in paths]
    if len(readers) == 1:
        readers = _ancestors(readers[0])
    before = ""
    for reader in readers:
        header = reader.header
        if header.parent != before:
            what = "a full backup" if not before else f"what follows {before}"
            raise Fatal(f"{reader.path} is not {what}: name a full backup and its increments in order")
        before = header.id
    for reader in readers:
        reader.unlock(key)
    return Chain(readers)


def _ancestors(newest: Reader) -> list[Reader]:
    readers = [newest]
    while readers[0].header.kind != FULL:
        wanted = readers[0].header.parent
        found = next((r for r in nearby(newest.path.parent) if r.header.id == wanted), None)
        if found is None:
            raise Fatal(
                f"{readers[0].path} builds on backup {wanted}, which is not beside it; name all files in order"
            )
        readers.insert(0, found)
    return readers


def nearby(folder: Path) -> list[Reader]:
    """The backups in a folder that can be read, oldest first; not unlocked."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            found.append(Reader(path))
        except Fatal:
            continue
    return sorted(found, key=lambda reader: (reader.header.created_ms, reader.path.name))
