"""What the engine keeps: a row for each customer, and the rest of a partition's state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.reference import columns as kinds
from tests.reference.decode import Event


class Output(NamedTuple):
    """`schema` is `decision` or `training_example`."""

    schema: str
    fields: dict[str, Any]


@dataclass
class Example:
    """The open example of one model; none is open while `opened` is 0. `sum` and `same` are words of the models that
    have an amount or something in common with their proofs."""

    opened: int = 0
    due: int = 0
    score: float = 0.0
    snapshot: int = 0
    features: tuple[float, ...] = ()
    sum: float = 0.0
    same: float = 0.0


@dataclass
class Fired:
    """The two words of one policy."""

    last_fired: int = 0
    inside: int = 0


@dataclass
class Row:
    """All that is known of one customer."""

    key: bytes
    applied: dict[str, int]
    columns: dict[str, kinds.Words]
    examples: dict[str, Example]
    policies: dict[str, Fired]
    clock: int = 0
    id_count: int = 0
    ids: list[int] = field(default_factory=list)

    @property
    def customer(self) -> str:
        return self.key.decode(errors="replace")


@dataclass
class Partition:
    """One partition number over all source topics."""

    number: int
    highest: int | None = None
    watermark: int | None = None
    rows: dict[bytes, Row] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    # (due, hash of the key, index of the deadline in the layout, key). An entry counts only while the
    # row still holds that due time.
    deadlines: list[tuple[int, int, int, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class Moment:
    """What the policies can see at one moment: when it is, why, and every name a condition may use."""

    now: int
    cause: str
    partition: int
    event: Event | None
    id_stem: str
    views: dict[str, float]
    scores: dict[str, float]
