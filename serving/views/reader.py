"""Reads the view of one customer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from schemas.topics import LAYOUTS
from serving.views.layouts import Layouts
from serving.views.store import ViewStore
from streams.errors import Retryable

ReadCustomer = Callable[[bytes], Mapping[str, Any] | None]


def view_reader(store: ViewStore, layouts: Layouts) -> ReadCustomer:
    """Return a function that reads a customer's view values by name, with `time` in ms, from any version of workers."""

    def read(key: bytes) -> Mapping[str, Any] | None:
        blob = store.read(key)
        if blob is None or len(blob) < 16 or len(blob) % 8:
            return None
        words = np.frombuffer(blob)
        layout_id = int(words[:1].view(np.int64)[0])
        layout = layouts.get(layout_id)
        if layout is None or len(words) != 2 + len(layout.views):
            raise Retryable(
                f"the customer was written with layout {layout_id}, which topic {LAYOUTS} does not describe"
            )
        return dict(zip(("time", *layout.views), words[1:].tolist(), strict=True))

    return read
