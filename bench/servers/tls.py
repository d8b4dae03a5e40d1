"""What a server that speaks TLS is given: PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """A server's certificate, its key, and the certificate of who signed it."""

    ca: Path
    cert: Path
    key: Path
