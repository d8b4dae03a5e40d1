"""The key that encrypts backups: 32 random bytes in a file that only its owner can read."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from streams.errors import Fatal

KEY_BYTES = 32
_LABEL = "streamwise-backup-key:"


def new_key(path: Path) -> str:
    """Make a key file; never overwrite an existing file. Returns the name of the key."""
    key = secrets.token_bytes(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Fatal(f"{path} is there already; name another file, as backups may need this key") from error
    except OSError as error:
        raise Fatal(f"{path} cannot be made: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{_LABEL}{key.hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    return key_name(key)


def read_key(path: Path) -> bytes:
    """Return the key in a file that `new_key` made."""
    try:
        text = path.read_text(encoding="ascii").strip()
        if not text.startswith(_LABEL):
            raise ValueError(text)
        key = bytes.fromhex(text.removeprefix(_LABEL))
        if len(key) != KEY_BYTES:
            raise ValueError(len(key))
    except OSError as error:
        raise Fatal(f"the key file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Fatal(f"{path} is no key file; make one with `streamwise backup --new-key FILE`") from error
    return key


def key_name(key: bytes) -> str:
    """Return the name of a key for messages and headers; it reveals nothing of the key."""
    return hashlib.sha256(b"streamwise backup key name" + key).hexdigest()[:12]
