"""What `config/recommendations.yaml` declares: the events that are baskets, and the rules for recommended items."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from config.located_yaml import LocatedMapping, load
from streams.errors import ConfigError

MOST: Final = 100  # products for one customer


@dataclass(frozen=True, slots=True)
class RecommendSpec:
    """Baskets are the events of `kinds` on `topic`, which has lines; each customer gets `top` products.

    only, never, once: categories; of a category in `once` a customer buys a product only once. `out_of_stock`: a file
    with one product a line, which may change at any time; None: everything is in stock. `place`: position of `baskets`
    in the file.
    """

    topic: str
    kinds: tuple[str, ...]
    top: int
    only: tuple[str, ...] | None
    never: tuple[str, ...]
    once: tuple[str, ...]
    out_of_stock: Path | None
    place: LocatedMapping = field(default_factory=LocatedMapping, compare=False, repr=False)


def load_recommendations(path: str | Path) -> RecommendSpec:
    """Read the file; a ConfigError names the line to correct and what was expected there.

    >>> from config.settings import Settings
    >>> spec = load_recommendations(Settings().config / "recommendations.yaml")
    >>> spec.topic, spec.kinds, spec.top
    ('sales.events', ('order',), 10)
    """
    top = load(path)
    top.expect({"baskets", "top", "only", "never", "once", "out_of_stock"}, {"baskets"})
    baskets = top["baskets"]
    if not isinstance(baskets, LocatedMapping):
        raise top.error("baskets: expected {topic, kinds}", "baskets")
    baskets.expect({"topic", "kinds"}, {"topic", "kinds"})
    topic, kinds = baskets["topic"], _names(baskets, "kinds")
    if not isinstance(topic, str) or not topic:
        raise baskets.error(f"topic: expected a name, got {topic!r}", "topic")
    if not kinds:
        raise baskets.error("kinds: expected at least one event kind such as order", "kinds")
    return RecommendSpec(
        topic=topic,
        kinds=kinds,
        top=_top(top),
        only=_names(top, "only") or None,
        never=_names(top, "never"),
        once=_names(top, "once"),
        out_of_stock=_file(top, Path(path).parent),
        place=baskets,
    )


def read_products(path: Path) -> frozenset[str]:
    """Return the products in a file, one a line; raise ConfigError if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), None, f"cannot be read as lines of products: {error}") from error
    return frozenset(line.strip() for line in lines if line.strip())


def _names(top: LocatedMapping, key: str) -> tuple[str, ...]:
    names = [] if top.get(key) is None else top[key]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise top.error(f"{key}: expected a list of names, got {names!r}", key)
    return tuple(names)


def _top(top: LocatedMapping) -> int:
    value = top.get("top", 10)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise top.error(f"top: expected a whole number from 1 to {MOST}, got {value!r}", "top")
    return value


def _file(top: LocatedMapping, folder: Path) -> Path | None:
    name = top.get("out_of_stock")
    if name is None or name == "":
        return None
    path = folder / str(name)
    if not isinstance(name, str) or not path.is_file():
        raise top.error(f"out_of_stock: expected a file, there is no file {path}", "out_of_stock")
    return path
