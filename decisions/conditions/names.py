"""The names that a condition may use, and their positions in the arrays of the pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NamedTuple

EVENT = "event"  # the table name reserved for the fields of the event
KIND = "kind"  # event.kind


class Input(NamedTuple):
    """One number that a condition reads: a view, a model's score, a field of the event, or the event's kind."""

    type: Literal["view", "score", "field", "kind"]
    name: str

    def __str__(self) -> str:
        """Return the input as SQL writes it."""
        return self.name if self.type in ("view", "score") else f"{EVENT}.{self.name}"


@dataclass(frozen=True)
class Names:
    """The names in scope of a policy. A name's position is its index in the pass.

    `strings` holds the views (`last_category`) and fields (`event.category`) whose number is the hash of a
    string. Only these may be compared with a string.
    """

    views: Sequence[str]
    scores: Sequence[str]
    fields: Sequence[str]
    kinds: Sequence[str]
    deadlines: Sequence[str]
    strings: frozenset[str] = frozenset()

    def find(self, parts: Sequence[str]) -> list[Input]:
        """Return the inputs that a dotted name can mean: none, one, or more if it is ambiguous."""
        name = ".".join(parts)
        if len(parts) == 2 and parts[0] == EVENT:
            if parts[1] == KIND:
                return [Input("kind", KIND)]
            return [Input("field", parts[1])] if parts[1] in self.fields else []
        found = [Input("view", name)] if name in self.views else []
        return [*found, Input("score", name)] if name in self.scores else found

    def index(self, read: Input) -> int:
        """Return the position of an input among those of its type; 0 for the kind."""
        if read.type == "kind":
            return 0
        return {"view": self.views, "score": self.scores, "field": self.fields}[read.type].index(read.name)

    def all(self) -> list[str]:
        """Return every name that a condition may use, as SQL writes it."""
        return [*self.views, *self.scores, *(f"{EVENT}.{field}" for field in self.fields), f"{EVENT}.{KIND}"]


def suggestion(name: str, known: Iterable[str], expected: str) -> str:
    """Return the hint for an unknown `name`: the known name that it resembles, else what was `expected`.

    >>> suggestion("chrun", ["churn", "purchase"], "a model")
    "did you mean 'churn'?"
    """
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected {expected}"
