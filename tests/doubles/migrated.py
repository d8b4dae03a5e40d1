"""Whole rows through a migration, as restoring takes them: packed."""

from __future__ import annotations

from typing import Any

import numpy as np

from customers.row.layout import Migration
from streams.state.packing import packed


def migrated(migration: Migration, rows: Any) -> Any:
    """Rows of the old layout (float64[n, old words]) as rows of the new one."""
    values, ends = packed(rows.view(np.int64), migration.moves.was.reshape(1, -1), 0)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    moved = np.empty((len(rows), len(migration.moves.base)))
    every = np.arange(len(rows))
    bits = moved.view(np.int64)
    assert migration.put(values.view(np.uint8), 8 * starts, 8 * (ends - starts), every, bits) < 0
    return moved
