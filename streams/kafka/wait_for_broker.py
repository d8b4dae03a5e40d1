"""Waits until a broker accepts connections; librdkafka would try for long and say little."""

from __future__ import annotations

import socket
import sys
import time

from .connection import Kafka, as_connection
from .topic_admin import broker_away

PATIENCE_S = 30.0  # how long a role waits for a broker that starts at the same time
_CONNECT_S = 3.0
_PAUSE_S = 0.5


def reach(bootstrap: Kafka, patience_s: float = 0.0) -> None:
    """Return when one of the addresses accepts connections; raise `Retryable` after `patience_s` (0: one try)."""
    until = time.monotonic() + patience_s
    told = False
    while not any(map(_listens, as_connection(bootstrap).addresses)):
        if time.monotonic() >= until:
            raise broker_away(bootstrap)
        if not told:
            sys.stderr.write(f"streamwise: no broker at {bootstrap} yet; waiting up to {patience_s:.0f} s\n")
            told = True
        time.sleep(_PAUSE_S)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S):
            return True
    except (OSError, ValueError):
        return False
