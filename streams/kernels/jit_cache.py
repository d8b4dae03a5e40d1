"""Numba's cache of kernels, made safe for upgrades in place and for several processes.

Numba keeps machine code beside the source file of a kernel until that file changes. But a kernel also contains
functions and constants of other modules: after an upgrade in place it would go on with the old ones, and read arrays
of another shape. Here the stamp covers the file and all of our files that it imports.

Several processes may fill the cache at once. Numba gives the code of each signature a number that its index does not
have yet, and writes index and code one after the other. So one process may write its code under the number that the
index gives to another process's signature. Here a lock lets one process at a time read or write.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import config
from numba.core import caching
from numba.core.caching import (
    IndexDataCacheFile,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)

ROOT = Path(__file__).resolve().parents[2]

# only at the start of a line: an import within a function is no part of a kernel
_FROM = re.compile(r"^from +(\.*)([\w.]*) +import +(\([^)]*\)|.*)$", re.M)
_IMPORT = re.compile(r"^import +([\w., ]+)$", re.M)


class _Stamped:
    """Replaces Numba's stamp, which covers one file only."""

    _py_file: str

    def get_source_stamp(self) -> Any:
        return stamp(Path(self._py_file).resolve())


class Provided(_Stamped, UserProvidedCacheLocator):  # type: ignore[misc]
    """Keeps the cache in the folder that NUMBA_CACHE_DIR names."""


class Beside(_Stamped, InTreeCacheLocator):  # type: ignore[misc]
    """Keeps the cache beside the source."""


class Wide(_Stamped, UserWideCacheLocator):  # type: ignore[misc]
    """Keeps the cache in the user's cache folder, when the folder of the sources is read-only."""


class Locked(IndexDataCacheFile):  # type: ignore[misc]
    """The code of one function by signature. A lock lets one process at a time use it."""

    _cache_path: str

    def load(self, key: Any) -> Any:
        """Return the code for a signature, None if there is none."""
        with _alone(self._cache_path):
            return super().load(key)

    def save(self, key: Any, data: Any) -> None:
        """Keep the code for a signature."""
        with _alone(self._cache_path):
            super().save(key, data)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # the file system may have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_kept(compiled: Any) -> bool:
    """Whether the cache has code of a kernel, for any signature, that fits its present sources."""
    return bool(compiled._cache._cache_file._load_index())


def install() -> None:
    """Make Numba use this cache, and these locators unless NUMBA_CACHE_LOCATOR_CLASSES names others."""
    caching.IndexDataCacheFile = Locked
    if not config.CACHE_LOCATOR_CLASSES:
        ours = [f"{__name__}.{locator.__name__}" for locator in (Provided, Beside, Wide)]
        config.CACHE_LOCATOR_CLASSES = ",".join([*ours, "IPythonCacheLocator", "ZipCacheLocator"])


@cache
def stamp(path: Path, root: Path = ROOT) -> bytes:
    """Return the digest of a source file and of all files that it depends on (`sources`)."""
    digest = hashlib.sha256()
    for one in sorted(sources(path, root)):
        digest.update(_digest(one))
    return digest.digest()


def sources(path: Path, root: Path = ROOT) -> set[Path]:
    """Return a source file and all files below `root` that it imports, directly or not."""
    found, coming = {path}, [path]
    while coming:
        new = _imported(coming.pop(), root) - found
        found |= new
        coming += new
    return found


@cache
def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@cache
def _imported(path: Path, root: Path) -> frozenset[Path]:
    """Return the files of our packages that this one imports."""
    text = path.read_text("utf-8")
    plain = [name.split()[0] for names in _IMPORT.findall(text) for name in names.split(",")]
    modules = [root.joinpath(*name.split(".")) for name in plain]
    for dots, name, members in _FROM.findall(text):
        base = (path.parents[len(dots) - 1] if dots else root).joinpath(*filter(None, name.split(".")))
        modules += [base, *(base / member for member in re.findall(r"\w+", members))]
    files = (file for module in modules for file in (module.with_suffix(".py"), module / "__init__.py"))
    return frozenset(file for file in files if _ours(file, root) and file.is_file())


def _ours(file: Path, root: Path) -> bool:
    """Whether a file is ours and not another project's; an installed project has a `.dist-info` folder."""
    return file.is_relative_to(root) and not _foreign(root, file.relative_to(root).parts[0])


@cache
def _foreign(root: Path, name: str) -> bool:
    return any(root.glob(f"{name}-*.dist-info"))
