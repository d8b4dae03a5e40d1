"""Runs one PostgreSQL; as user `postgres` if this process is root, as it refuses to run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .process import HOST, Missing, Server, require, run_once
from .tls import Tls

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


class PostgresServer(Server):
    """One PostgreSQL. Its tables last as long as its data directory.

    `fsync` is off, as only processes crash here, not the machine. With `tls` it accepts only TLS connections.
    """

    name = "postgresql"

    def __init__(self, port: int | None = None, data_dir: Path | None = None, tls: Tls | None = None) -> None:
        super().__init__(port, data_dir)
        self._tls = tls

    @property
    def url(self) -> str:
        checked = "" if self._tls is None else f"?sslmode=verify-full&sslrootcert={self._tls.ca}"
        return f"postgresql://streamwise:secret@{self.address}/postgres{checked}"

    def _prepare(self, data_dir: Path) -> list[str]:
        if not BINARIES:
            raise Missing("PostgreSQL is missing: install it with `apt-get install postgresql`")
        bin_dir = BINARIES[-1].parent
        as_user = [require("runuser"), "-u", "postgres", "--"] if os.geteuid() == 0 else []
        tables = data_dir / "tables"
        if not tables.exists():
            password = data_dir / "password"
            password.write_text("secret")
            if as_user:
                _give_to_postgres(data_dir, password)
            make = [str(bin_dir / "initdb"), "-D", str(tables), "-U", "streamwise", "-A", "scram-sha-256"]
            make += ["--pwfile", str(password), "--encoding", "UTF8", "--locale", "C", "--no-sync"]
            run_once([*as_user, *make], "making the tables of PostgreSQL", data_dir)
        if self._tls is not None:
            self._lock(data_dir, tables, bool(as_user))
        run = [str(bin_dir / "postgres"), "-D", str(tables), "-p", str(self.port), "-h", HOST]
        return [*as_user, *run, "-k", str(data_dir), "-c", "fsync=off"]

    def _lock(self, data_dir: Path, tables: Path, as_postgres: bool) -> None:
        """Require TLS for every connection. Only the server may read its key, or it refuses to start."""
        assert self._tls is not None
        cert, key = data_dir / "server.pem", data_dir / "server.key"
        shutil.copy(self._tls.cert, cert)
        shutil.copy(self._tls.key, key)
        key.chmod(0o600)
        (tables / "pg_hba.conf").write_text(f"hostssl all all {HOST}/32 scram-sha-256\n")
        with (tables / "postgresql.conf").open("a") as config:
            config.write(f"ssl = on\nssl_cert_file = '{cert}'\nssl_key_file = '{key}'\n")
        if as_postgres:
            _give_to_postgres(cert, key)

    def answers(self) -> bool:
        ask = [str(BINARIES[-1].parent / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(ask).returncode == 0


def _give_to_postgres(*paths: Path) -> None:
    try:
        for path in paths:
            shutil.chown(path, "postgres")
    except LookupError as error:
        raise Missing(
            "there is no user postgres, as whom root starts PostgreSQL: install it with `apt-get install postgresql`"
        ) from error
