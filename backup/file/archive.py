"""The backup file: a header, chunks that are compressed and sealed one by one, and the position of the last chunk.

    8 bytes    "SWBACKUP"
    6 bytes    version (uint16) and the header's size (uint32); all numbers are little-endian
    header     JSON, readable without the key: id, parent, kind, created_ms, salt, key (the key's name, "" for none)
    chunks     kind (1 byte: D data, E end), size of the body (uint32), body
    20 bytes   position of the end chunk (uint64), its number (uint64), "SWBE"

A body is compressed with zstd, then encrypted with AES-256-GCM. Each file has its own encryption key: HKDF-SHA256 of
the key in the key file, with the salt of the header. The nonce of a chunk is its number. Its associated data are the
hash of all bytes before the first chunk, its kind and its number. So the reader detects a chunk that was changed,
moved, left out or taken from another file. Without a key the seal is a BLAKE2b hash of the same bytes: it shows
damage, but anybody can compute it.

The end chunk holds the summary (JSON): counts, offsets and `sections`, which say where the chunks of each begin.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import cramjam
import msgspec

from streams.errors import Fatal

from .encryption import SALT_BYTES, GcmSeal, HashSeal, Seal
from .key import key_name
from .summary import Header, Section, Summary

MAGIC, END_MAGIC, VERSION = b"SWBACKUP", b"SWBE", 1
PREFIX, CHUNK, TRAILER = struct.Struct("<8sHI"), struct.Struct("<cI"), struct.Struct("<QQ4s")
DATA, END = b"D", b"E"
CHUNK_BYTES = 1 << 20  # the writer collects this much before it writes a chunk: the memory that a chunk takes
LARGEST_BODY = 1 << 30
COMPRESSION = 3  # zstd's default: halves the size of rows, at 300 MB/s
PART = ".part"


def _about(start: bytes, kind: bytes, number: int) -> bytes:
    return hashlib.sha256(start).digest() + kind + number.to_bytes(8, "little")


class ArchiveWriter:
    """Writes a temporary file beside `path` and renames it when it is complete.

    A context manager: leaving it without `finish` removes the temporary file.
    """

    def __init__(self, path: Path, header: Header, key: bytes | None) -> None:
        salt = secrets.token_bytes(SALT_BYTES)
        self.header = msgspec.structs.replace(header, salt=salt.hex(), key=key_name(key) if key else "")
        self._seal: Seal = GcmSeal(key, salt) if key else HashSeal()
        self._path, self._part = path, path.with_name(path.name + PART)
        encoded = msgspec.json.encode(self.header)
        self._start = PREFIX.pack(MAGIC, VERSION, len(encoded)) + encoded
        self._number = 0
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._section: Section | None = None
        self.sections: list[Section] = []
        if path.exists():
            raise Fatal(f"{path} is there already; name another file")
        try:
            self._part.unlink(missing_ok=True)
            descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise Fatal(f"{path} cannot be written: {error.strerror}") from error
        self._file = os.fdopen(descriptor, "wb")
        self._write(self._start)

    def begin(self, name: str, partition: int = -1) -> None:
        """Begin a section; the pieces added from here on belong to it."""
        self._flush()
        self._section = Section(name, partition, self._file.tell(), self._number)
        self.sections.append(self._section)

    def add(self, piece: bytes, records: int = 1) -> None:
        """Add a piece. One chunk holds it whole."""
        assert self._section is not None
        self._buffer.append(piece)
        self._buffered += len(piece)
        self._section.records += records
        if self._buffered >= CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._buffered and self._section is not None:
            self._chunk(DATA, b"".join(self._buffer))
            self._section.chunks += 1
        self._buffer, self._buffered = [], 0

    def _chunk(self, kind: bytes, plain: bytes) -> None:
        body = bytes(cramjam.zstd.compress(plain, level=COMPRESSION))
        sealed = self._seal.close(self._number, _about(self._start, kind, self._number), body)
        self._write(CHUNK.pack(kind, len(sealed)) + sealed)
        self._number += 1

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise Fatal(f"{self._path} cannot be written: {error.strerror}") from error

    def finish(self, summary: Summary) -> int:
        """Write the summary, flush the file to the disk and rename it to `path`. Returns its size in bytes."""
        self._flush()
        summary.sections = self.sections
        position, number = self._file.tell(), self._number
        self._chunk(END, msgspec.json.encode(summary))
        self._write(TRAILER.pack(position, number, END_MAGIC))
        size = self._file.tell()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # so that the name survives a power failure too
            finally:
                os.close(folder)
        except OSError as error:
            raise Fatal(f"{self._path} cannot be written: {error.strerror}") from error
        return size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._file.closed:
            self._file.close()
        self._part.unlink(missing_ok=True)


class ArchiveReader:
    """Reads a complete backup file. `header` is known at once, `summary` only after `unlock`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise Fatal(f"{path} cannot be read: {error.strerror}") from error
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise
        self.summary = Summary()
        self._seal: Seal = HashSeal()

    def _read_header(self) -> Header:
        prefix = self._file.read(PREFIX.size)
        if len(prefix) < PREFIX.size or prefix[: len(MAGIC)] != MAGIC:
            raise Fatal(f"{self.path} is no backup")
        _, version, size = PREFIX.unpack(prefix)
        if version != VERSION:
            raise Fatal(f"{self.path} is a backup of version {version}; this program reads version {VERSION}")
        encoded = self._file.read(min(size, CHUNK_BYTES))
        self._start = prefix + encoded
        try:
            return msgspec.json.decode(encoded, type=Header)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged("its header cannot be read") from error

    def unlock(self, key: bytes | None) -> ArchiveReader:
        """Check the key and the end of the file, and read the summary."""
        header = self.header
        if header.key and key is None:
            raise Fatal(f"{self.path} is encrypted: name its key file (--key), that of key {header.key}")
        if header.key and key is not None:
            if key_name(key) != header.key:
                raise Fatal(
                    f"{self.path} was encrypted with key {header.key}; the one given is {key_name(key)}"
                )
            try:
                self._seal = GcmSeal(key, bytes.fromhex(header.salt))
            except ValueError as error:
                raise self._damaged("its header was altered") from error
        self._file.seek(0, os.SEEK_END)
        size = self._file.tell()
        self._file.seek(max(0, size - TRAILER.size))
        trailer = self._file.read()
        if len(trailer) < TRAILER.size or not trailer.endswith(END_MAGIC):
            raise self._damaged("it is cut short")
        position, number, _ = TRAILER.unpack(trailer)
        if position >= size:
            raise self._damaged("it is cut short")
        self._file.seek(position)
        try:
            self.summary = msgspec.json.decode(self._chunk(END, number), type=Summary)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged("its summary cannot be read") from error
        if self._file.tell() != size - TRAILER.size:
            raise self._damaged("something was added to it")
        return self

    def section(self, name: str, partition: int = -1) -> Section | None:
        """The section of this name, if the file has one."""
        for section in self.summary.sections:
            if (section.name, section.partition) == (name, partition):
                return section
        return None

    def chunks(self, section: Section | None) -> Iterator[bytes]:
        """Yields the content of a section, a chunk at a time."""
        if section is None:
            return
        position = section.position
        for number in range(section.chunk, section.chunk + section.chunks):
            self._file.seek(position)
            plain = self._chunk(DATA, number)
            position = self._file.tell()
            yield plain

    def verify(self) -> Iterator[int]:
        """Open every chunk; yields the position in the file after each."""
        for section in self.summary.sections:
            for _ in self.chunks(section):
                yield self._file.tell()

    def _chunk(self, kind: bytes, number: int) -> bytes:
        head = self._file.read(CHUNK.size)
        if len(head) < CHUNK.size:
            raise self._damaged("it is cut short")
        found, size = CHUNK.unpack(head)
        body = self._file.read(size) if size <= LARGEST_BODY else b""
        if len(body) < size or found != kind:
            raise self._damaged("it is cut short" if found == kind else "its parts are out of order")
        try:
            opened = self._seal.open(number, _about(self._start, kind, number), body)
            return bytes(cramjam.zstd.decompress(opened))
        except (ValueError, cramjam.DecompressionError) as error:
            raise self._damaged("it was altered") from error

    def _damaged(self, how: str) -> Fatal:
        return Fatal(f"{self.path} is damaged: {how}; take another copy of it, or an older backup")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def piece(value: Any) -> bytes:
    """Encode plain data as a piece with its length in front, for sections that hold few large things."""
    encoded = msgspec.msgpack.encode(value)
    return struct.pack("<I", len(encoded)) + encoded


def pieces(chunk: bytes) -> Iterator[Any]:
    """Yields the data of a chunk that `piece` encoded."""
    at = 0
    while at < len(chunk):
        (size,) = struct.unpack_from("<I", chunk, at)
        yield msgspec.msgpack.decode(chunk[at + 4 : at + 4 + size])
        at += 4 + size
