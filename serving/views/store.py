"""Step 9, serve: stores of the newest view of each customer.

A view is a blob that the engine makes; a store moves bytes and knows no layout. `MemoryViews` is the
in-process double of `RedisViews` and passes the same tests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streams.errors import Fatal, Retryable

PREFIX = b"customer:"
# About 250 kB per command: the server can answer others in between, and round trips are few.
KEYS_PER_COMMAND = 500
# A slower store counts as unavailable; the engine keeps the unwritten views.
TIMEOUT_S = 2.0


class ViewStore(Protocol):
    """Keeps the newest blob of each key. Every method but `close` raises Retryable if the store is unavailable."""

    def write(self, keys: Sequence[bytes], blobs: Sequence[bytes]) -> None:
        """Keep each blob under its key; if a key occurs twice, keep the last blob."""

    def remove(self, keys: Sequence[bytes]) -> None:
        """Delete these keys."""

    def read(self, key: bytes) -> bytes | None:
        """Return the newest blob of `key`."""

    def ping(self) -> None:
        """Raise Retryable unless the store answers."""

    def close(self) -> None:
        """Close the connections; do not use the store afterwards."""


class MemoryViews:
    """Views in this process, for the demo and for tests."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def write(self, keys: Sequence[bytes], blobs: Sequence[bytes]) -> None:
        with self._lock:
            self._blobs.update(zip(keys, blobs, strict=True))

    def remove(self, keys: Sequence[bytes]) -> None:
        with self._lock:
            for key in keys:
                self._blobs.pop(key, None)

    def read(self, key: bytes) -> bytes | None:
        with self._lock:
            return self._blobs.get(key)

    def ping(self) -> None:
        return

    def close(self) -> None:
        with self._lock:
            self._blobs.clear()


class RedisViews:
    """Views in Redis under `customer:<key>`, or another `prefix`."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, *, prefix: bytes = PREFIX) -> None:
        self.address, self._port = _address(url)
        self._prefix = prefix
        # One retry, as the server may have closed a connection that was idle.
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),
        )

    def write(self, keys: Sequence[bytes], blobs: Sequence[bytes]) -> None:
        if len(keys) != len(blobs):
            raise ValueError(f"{len(keys)} keys for {len(blobs)} blobs")
        if not keys:
            return
        with self._talking(), self._redis.pipeline(transaction=False) as pipeline:
            for start in range(0, len(keys), KEYS_PER_COMMAND):
                some = slice(start, start + KEYS_PER_COMMAND)
                named = (self._prefix + key for key in keys[some])
                pipeline.mset(dict(zip(named, blobs[some], strict=True)))
            # execute()'s own error would quote keys and blobs.
            for answer in pipeline.execute(raise_on_error=False):
                if isinstance(answer, redis.RedisError):
                    raise answer

    def remove(self, keys: Sequence[bytes]) -> None:
        with self._talking():
            for start in range(0, len(keys), KEYS_PER_COMMAND):
                self._redis.unlink(*(self._prefix + key for key in keys[start : start + KEYS_PER_COMMAND]))

    def read(self, key: bytes) -> bytes | None:
        with self._talking():
            blob = self._redis.get(self._prefix + key)
        return blob if isinstance(blob, bytes) else None

    def ping(self) -> None:
        with self._talking():
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn errors of Redis into Retryable ones that give its address and advice."""
        try:
            yield
        except redis.RedisError as error:
            cause = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise Retryable(f"Redis at {self.address}: {cause}; {self._advice(error)}") from error

    def _advice(self, error: redis.RedisError) -> str:
        if isinstance(error, redis.AuthenticationError) or str(error).startswith(("NOAUTH", "HELLO")):
            return "check user and password in STREAMWISE_REDIS"
        if "SSL" in str(error):
            return "check the certificates: STREAMWISE_REDIS names the CA as ?ssl_ca_certs=FILE"
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            return f"start one with `redis-server --port {self._port}`"
        return "see its memory, disk and access settings"


def _address(url: str) -> tuple[str, int]:
    """Return the address of Redis and its port, without user, password or options; Fatal for an invalid URL."""
    expected = "expected redis://HOST:6379/0"
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as error:
        raise Fatal(f"the Redis URL cannot be read: {expected}") from error
    if parts.scheme not in ("redis", "rediss"):
        raise Fatal(f"the Redis URL starts with {parts.scheme or 'no scheme'}: {expected}")
    database = parts.path.strip("/") or "0"
    if not database.isdigit():
        raise Fatal(f"the Redis URL names database {database}, which is no number: {expected}")
    for ca in parse_qs(parts.query).get("ssl_ca_certs", []):
        if not Path(ca).is_file():
            raise Fatal(f"the Redis URL names the CA file {ca}, which is not there")
    host = parts.hostname or "localhost"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}/{database}", port
