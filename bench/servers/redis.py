"""One redis-server that keeps nothing on disk."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from bench.servers.process import HOST, Server, require


class RedisServer(Server):
    """One redis-server that keeps nothing on disk."""

    name = "redis"

    def __init__(self, port: int | None = None, options: Sequence[str] = ()) -> None:
        """`options`: further arguments, as `--maxmemory 1gb`."""
        super().__init__(port, None)
        self._options = list(options)

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def _prepare(self, data_dir: Path) -> list[str]:
        command = [require("redis-server"), "--bind", HOST, "--port", str(self.port)]
        return [*command, "--save", "", "--appendonly", "no", "--dir", str(data_dir), *self._options]

    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
