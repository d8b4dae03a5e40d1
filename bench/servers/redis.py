"""Runs one redis-server that keeps nothing on disk; with TLS, its one user has only the rights that views need."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from .process import HOST, Server, require
from .tls import Tls

# as in docs/OPERATIONS.md, with a password
USER = "streamwise on >secret ~customer:* ~recommendations:* +mset +unlink +get +ping +select"


class RedisServer(Server):
    """One redis-server that keeps nothing on disk."""

    name = "redis"

    def __init__(self, port: int | None = None, tls: Tls | None = None, options: Sequence[str] = ()) -> None:
        """`options`: further arguments, such as `--maxmemory 1gb`."""
        super().__init__(port, None)
        self._tls = tls
        self._options = list(options)

    @property
    def url(self) -> str:
        if self._tls is not None:
            return f"rediss://streamwise:secret@{self.address}/0?ssl_ca_certs={self._tls.ca}"
        return f"redis://{self.address}/0"

    def _prepare(self, data_dir: Path) -> list[str]:
        command = [require("redis-server"), "--bind", HOST]
        if self._tls is None:
            command += ["--port", str(self.port)]
        else:
            command += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", str(self._tls.cert), "--tls-key-file", str(self._tls.key)]
            command += ["--tls-ca-cert-file", str(self._tls.ca)]
            command += ["--user", "default", "off", "--user", *USER.split()]
        return [*command, "--save", "", "--appendonly", "no", "--dir", str(data_dir), *self._options]

    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                if self._tls is not None:
                    return True  # a PING would need a TLS handshake and a login
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
