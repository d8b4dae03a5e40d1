"""An authority of a test's own, and certificates for this machine that it signs, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.servers.tls import Tls

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


def authority(folder: Path, name: str) -> tuple[Path, Path]:
    """An authority's certificate and key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    _openssl(
        "req", "-x509", *KEY, "-nodes", "-keyout", key, "-out", cert, "-subj", f"/CN={name}", "-days", "2"
    )
    return cert, key


def signed(folder: Path, name: str, by: tuple[Path, Path], passphrase: str = "") -> Tls:
    """A certificate for `name` and this machine's address, signed by an authority."""
    cert, key, request = (folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
    locked = ("-passout", f"pass:{passphrase}") if passphrase else ("-nodes",)
    _openssl("req", *KEY, *locked, "-keyout", key, "-out", request, "-subj", f"/CN={name}", "-addext", NAMES)
    given = ("-CA", by[0], "-CAkey", by[1], "-CAcreateserial", "-copy_extensions", "copy", "-days", "2")
    _openssl("x509", "-req", "-in", request, "-out", cert, *given)
    return Tls(by[0], cert, key)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
