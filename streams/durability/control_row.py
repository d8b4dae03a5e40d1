"""The control row of a partition: what its changelog says of offsets, the watermark and what is in force."""

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
        """Names the layout."""

    @property
    def description(self) -> bytes:
        """The layout in JSON, for who reads the rows later."""


class Adoption(Protocol):
    """What the pass has in force for a partition and what it would take up next (model snapshots, policies)."""

    def in_force(self, partition: Partition) -> dict[str, Any]:
        """Plain data that names what is in force now; kept in the control row."""

    def offered(self, partition: Partition) -> dict[str, Any]:
        """Plain data that names what may be in force from now on."""

    def adopt(self, partition: Partition, offered: dict[str, Any]) -> None:
        """Put what was offered in force."""


def read_control(value: bytes) -> dict[str, Any]:
    """A control row's content."""
    control = orjson.loads(value)
    return control if isinstance(control, dict) else {}
