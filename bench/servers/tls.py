"""The PEM files of a server that uses TLS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate of a server, its key, and the certificate of the CA that signed it."""

    ca: Path
    cert: Path
    key: Path
