"""The file of products out of stock, read again when it changes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from streams.errors import ConfigError

from .config import read_products

LOOK_S = 5.0
log = logging.getLogger(__name__)


class Stock:
    """`products`: those out of stock now; without a `path` everything is in stock."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._looked_at, self._stamp = clock(), _stamp(path)
        self.products = frozenset[str]() if path is None else read_products(path)

    def look(self) -> bool:
        """Read the file again if it has changed; return whether it was read or tried."""
        if self._path is None or self._clock() - self._looked_at < LOOK_S:
            return False
        self._looked_at, stamp = self._clock(), _stamp(self._path)
        if stamp is None or stamp == self._stamp:  # being replaced, gone or the same: keep what was read
            return False
        try:
            self.products, self._stamp = read_products(self._path), stamp
        except ConfigError as error:
            log.warning("%s; the list of products out of stock stays as it was", error)
            return False
        return True


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)
