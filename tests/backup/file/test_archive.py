"""Promise: a backup that was altered in any way, cut short or opened with another key is refused in one line."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from backup.chain import open_chain
from backup.file.archive import CHUNK_BYTES, ArchiveReader, ArchiveWriter
from backup.file.key import new_key, read_key
from backup.file.records import decode, encode
from backup.file.summary import FULL, INCREMENT, Header, Slice, Summary
from streams.errors import Fatal

PIECES = [encode(b"key %d" % n, random.Random(n).randbytes(3000)) for n in range(500)]


def made(
    path: Path, key: bytes | None = None, *, kind: str = FULL, name: str = "first", parent: str = ""
) -> Path:
    with ArchiveWriter(path, Header(name, kind, 1, parent), key) as archive:
        archive.begin("changelog", 0)
        for piece in PIECES:
            archive.add(piece)
        archive.begin("models", 0)
        archive.add(encode(b"m/1", None))
        archive.finish(Summary(partitions=1, changelog={"0": Slice(0, 500)}))
    return path


@pytest.fixture
def key(tmp_path: Path) -> bytes:
    new_key(tmp_path / "key")
    return read_key(tmp_path / "key")


def opened(path: Path, key: bytes | None) -> None:
    with open_chain([path], key) as chain:
        chain.verify(lambda done, of: None)


@pytest.mark.parametrize("encrypted", [True, False])
def test_what_was_written_is_read(tmp_path: Path, key: bytes, encrypted: bool) -> None:
    used = key if encrypted else None
    path = made(tmp_path / "a.backup", used)
    with open_chain([path], used) as chain:
        chunks = list(chain.changelog(0))
        assert len(chunks) == 2 == -(-sum(map(len, PIECES)) // CHUNK_BYTES)
        assert [encode(*record) for records in chunks for record in records] == PIECES
        assert list(chain.models(0)) == [(b"m/1", None)]
        assert list(chain.models(1)) == []
    assert not (encrypted and b"key 1" in path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("encrypted", [True, False])
def test_any_byte_that_changed_is_noticed(tmp_path: Path, key: bytes, encrypted: bool) -> None:
    used = key if encrypted else None
    data = made(tmp_path / "a.backup", used).read_bytes()
    draw = random.Random(5)
    places = {
        *range(250),
        *range(len(data) - 450, len(data)),
        *(draw.randrange(len(data)) for _ in range(100)),
    }
    broken = tmp_path / "broken.backup"
    for place in sorted(places):
        altered = bytearray(data)
        altered[place] ^= 1 << draw.randrange(8)
        broken.write_bytes(altered)
        with pytest.raises(Fatal) as refused:
            opened(broken, used)
        assert "\n" not in str(refused.value)


def test_a_file_cut_short_or_longer_is_noticed(tmp_path: Path, key: bytes) -> None:
    data = made(tmp_path / "a.backup", key).read_bytes()
    broken = tmp_path / "broken.backup"
    for size in (0, 5, 20, 200, len(data) // 2, len(data) - 1):
        broken.write_bytes(data[:size])
        with pytest.raises(Fatal, match=r"is damaged|is no backup"):
            opened(broken, key)
    broken.write_bytes(data + data[-20:])
    with pytest.raises(Fatal, match="something was added"):
        opened(broken, key)


def test_chunks_that_changed_places_are_noticed(tmp_path: Path) -> None:
    path = made(tmp_path / "a.backup")
    reader = ArchiveReader(path).unlock(None)
    section = reader.section("changelog", 0)
    other = reader.section("models", 0)
    assert section is not None
    assert other is not None
    section.chunk, other.chunk, section.position, other.position = (
        other.chunk, section.chunk, section.position, other.position,
    )  # fmt: skip
    with pytest.raises(Fatal, match="it was altered"):
        list(reader.chunks(section))
    reader.close()


def test_another_key_or_none_is_refused(tmp_path: Path, key: bytes) -> None:
    path = made(tmp_path / "a.backup", key)
    new_key(tmp_path / "other")
    with pytest.raises(Fatal, match=r"was encrypted with key \w+; the one given is"):
        opened(path, read_key(tmp_path / "other"))
    with pytest.raises(Fatal, match="is encrypted: name its key file"):
        opened(path, None)


def test_a_key_file_is_its_owners_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(Fatal, match="is there already"):
        new_key(path)
    assert path.read_bytes() == before
    path.write_text("secret", encoding="ascii")
    with pytest.raises(Fatal, match="is no key file"):
        read_key(path)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.backup"
    with ArchiveWriter(path, Header("a", FULL, 1), None) as archive:  # as if it had failed
        archive.begin("changelog", 0)
        archive.add(b"piece")
    assert os.listdir(tmp_path) == []
    made(path)
    with pytest.raises(Fatal, match="is there already"):
        made(path)


def test_increments_find_what_they_build_on_or_say_what_is_missing(tmp_path: Path) -> None:
    first = made(tmp_path / "c.backup")
    second = made(tmp_path / "b.backup", kind=INCREMENT, name="second", parent="first")
    third = made(tmp_path / "a.backup", kind=INCREMENT, name="third", parent="second")
    for paths in ([third], [first, second, third]):
        with open_chain(paths, None) as chain:
            assert [reader.path for reader in chain.readers] == [first, second, third]
    for paths in ([second, third], [first, third], [second, first]):
        with pytest.raises(Fatal, match="name a full backup and its increments in order"):
            open_chain(paths, None)
    second.unlink()
    with pytest.raises(Fatal, match="builds on backup second, which is not beside it"):
        open_chain([third], None)


def test_records_are_what_they_were() -> None:
    records = [(b"k", b"v"), (b"", b""), (b"gone", None), (b"\0control", b"{}")]
    assert list(decode(b"".join(encode(*record) for record in records))) == records
