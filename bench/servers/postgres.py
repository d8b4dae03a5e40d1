"""One PostgreSQL; started as `postgres` by root, whom it refuses to serve."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.servers.process import HOST, Server, ServerError

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


class PostgresServer(Server):
    """One PostgreSQL. Its tables last as long as its data directory; `fsync` is off, as only processes die here."""

    name = "postgresql"

    def __init__(self, port: int | None = None, data_dir: Path | None = None) -> None:
        super().__init__(port, data_dir)

    @property
    def url(self) -> str:
        return f"postgresql://streamwise:secret@{self.address}/postgres"

    def _prepare(self, data_dir: Path) -> list[str]:
        if not BINARIES:
            raise ServerError("PostgreSQL is missing: install it with `apt-get install postgresql`")
        bin_dir = BINARIES[-1].parent
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        tables = data_dir / "tables"
        if not tables.exists():
            password = data_dir / "password"
            password.write_text("secret")
            if as_user:
                shutil.chown(data_dir, "postgres")
                shutil.chown(password, "postgres")
            make = [str(bin_dir / "initdb"), "-D", str(tables), "-U", "streamwise", "-A", "scram-sha-256"]
            make += ["--pwfile", str(password), "--encoding", "UTF8", "--locale", "C", "--no-sync"]
            subprocess.run([*as_user, *make], check=True, capture_output=True, cwd=data_dir)
        run = [str(bin_dir / "postgres"), "-D", str(tables), "-p", str(self.port), "-h", HOST]
        return [*as_user, *run, "-k", str(data_dir), "-c", "fsync=off"]

    def answers(self) -> bool:
        ask = [str(BINARIES[-1].parent / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(ask).returncode == 0
