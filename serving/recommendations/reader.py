"""Where the page finds what is recommended to a customer: in Redis, or at the analyst's port without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from config.settings import Settings
from models.recommendation.shop import NOBODY
from serving.views.store import RedisViews, ViewStore
from streams.errors import Retryable

from .store import PREFIX

Products = Sequence[Mapping[str, Any]]
Read = Callable[[bytes], Products]


def reader(settings: Settings, ask: Callable[[list[str], bytes], Mapping[str, Any] | None]) -> Read:
    """Gives the products of a customer, the best first; none while nobody knows."""
    if settings.redis.startswith("memory"):
        analysts = [at for role, at in settings.role_addresses.items() if role.startswith("analyst")]
        return lambda key: _products(lambda: ask(analysts, key))
    store = RedisViews(settings.redis, prefix=PREFIX)
    return lambda key: _products(lambda: _stored(store, key))


def _stored(store: ViewStore, key: bytes) -> Mapping[str, Any] | None:
    blob = store.read(key) or store.read(NOBODY)
    found = orjson.loads(blob) if blob else None
    return found if isinstance(found, dict) else None


def _products(read: Callable[[], Mapping[str, Any] | None]) -> Products:
    """A page without them is better than none."""
    try:
        found = read()
    except (Retryable, orjson.JSONDecodeError):
        return []
    return found.get("products", []) if found else []
