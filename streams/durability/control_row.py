"""The control row of a partition: its offsets, its watermark and what is in force, as its changelog holds them."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from streams.engine import Partition

CONTROL_KEY = b"\x00control"

LAYOUT_KEY = b"\x00layout:"  # followed by the layout's id in decimal digits


class RowFormat(Protocol):
    """How rows look in the changelog."""

    @property
    def layout_id(self) -> int:
        """The id of the layout."""

    @property
    def description(self) -> bytes:
        """The layout in JSON, for later readers of the rows."""


class Adoption(Protocol):
    """Knows what the pass has in force for a partition and what it would adopt next (model snapshots, policies)."""

    def in_force(self, partition: Partition) -> dict[str, Any]:
        """Return plain data that names what is in force now; the control row holds it."""

    def offered(self, partition: Partition) -> dict[str, Any]:
        """Return plain data that names what may come into force now."""

    def adopt(self, partition: Partition, offered: dict[str, Any]) -> None:
        """Bring what was offered into force."""


def read_control(value: bytes) -> dict[str, Any]:
    """Decode a control row; returns {} when it is no JSON object."""
    control = orjson.loads(value)
    return control if isinstance(control, dict) else {}
