"""Faust's transport with whole fetches in place of single records (step 2).

Promises: Faust sees one message a fetch; back pressure bounds what waits.
"""

from .app import COMMIT_INTERVAL_S, SESSION_TIMEOUT_S, App, make_app
from .consumer import Consumer

__all__ = ["COMMIT_INTERVAL_S", "SESSION_TIMEOUT_S", "App", "Consumer", "make_app"]
