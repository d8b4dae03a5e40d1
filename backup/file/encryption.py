"""Seals the chunks of a backup: AES-256-GCM with a key, a hash without one (see `backup.file.archive`)."""

from __future__ import annotations

import hashlib
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_BYTES, SEAL_BYTES = 32, 16


class Seal(Protocol):
    """Seals and opens the body of a chunk. `about`: its associated data."""

    def close(self, number: int, about: bytes, body: bytes) -> bytes:
        """Return the sealed body, as it is written to the file."""

    def open(self, number: int, about: bytes, body: bytes) -> bytes:
        """Return the original body; raises ValueError if it is not the one that `close` sealed."""


class GcmSeal:
    """Encrypts and authenticates the body with AES-256-GCM."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        derived = HKDF(SHA256(), 32, salt, b"streamwise backup file").derive(key)
        self._cipher = AESGCM(derived)

    def close(self, number: int, about: bytes, body: bytes) -> bytes:
        return self._cipher.encrypt(number.to_bytes(12, "little"), body, about)

    def open(self, number: int, about: bytes, body: bytes) -> bytes:
        try:
            return self._cipher.decrypt(number.to_bytes(12, "little"), body, about)
        except InvalidTag as error:
            raise ValueError("sealed by something else") from error


class HashSeal:
    """Appends a hash to the body: detects damage, but not forgery."""

    def close(self, number: int, about: bytes, body: bytes) -> bytes:
        return body + self._hash(about, body)

    def open(self, number: int, about: bytes, body: bytes) -> bytes:
        whole, seal = body[:-SEAL_BYTES], body[-SEAL_BYTES:]
        if self._hash(about, whole) != seal:
            raise ValueError("the hash does not hold")
        return whole

    def _hash(self, about: bytes, body: bytes) -> bytes:
        return hashlib.blake2b(about + body, digest_size=SEAL_BYTES).digest()
